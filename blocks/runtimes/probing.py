"""Readiness of instances, asked side by side."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import httpx

from blocks.runtimes.programs import Program

_SIDE_BY_SIDE_AT_MOST = 64


def ready(programs: Collection[Program]) -> set[str]:
    """Return the names of those that answer their readiness probe with 2xx within its time limit.

    Takes no longer than the slowest probe's limit. No proxy is used, whatever the environment says.
    """
    if not programs:
        return set()
    with (
        httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)) as client,
        ThreadPoolExecutor(min(len(programs), _SIDE_BY_SIDE_AT_MOST)) as pool,
    ):
        answers = pool.map(lambda program: _answers(client, program), programs)
        return {program.name for program, answer in zip(programs, answers, strict=True) if answer}


def _answers(client: httpx.Client, program: Program) -> bool:
    address = f"http://{program.address}{program.probe_path}"
    try:
        # The status is enough: a body that never ends must not hold the probe up.
        with client.stream("GET", address, timeout=program.probe_timeout_s) as answer:
            return answer.is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
