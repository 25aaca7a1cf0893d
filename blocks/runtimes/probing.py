"""Readiness of instances: whom to ask, how often, and asked side by side."""

import ssl
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx

from blocks.runtimes.programs import Program
from blocks.runtimes.supervisor_rpc import Process

_SIDE_BY_SIDE_AT_MOST = 64
_EAGER_FOR_S = 10.0
_EAGER_EVERY_S = 0.2
# Probes are plain HTTP. Without it every client reads all certificates of the system, which takes longer than a probe.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def ready(programs: Collection[Program]) -> set[str]:
    """Return the names of those that answer their readiness probe with 2xx within its time limit.

    Takes no longer than the slowest probe's limit. No proxy is used, whatever the environment says.
    """
    if not programs:
        return set()
    with (
        httpx.Client(
            verify=_NO_CERTIFICATES, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        ) as client,
        ThreadPoolExecutor(min(len(programs), _SIDE_BY_SIDE_AT_MOST)) as pool,
    ):
        answers = pool.map(lambda program: _answers(client, program), programs)
        return {program.name for program, answer in zip(programs, answers, strict=True) if answer}


def past_start_delay(programs: Iterable[Program], processes: Mapping[str, Process]) -> list[Program]:
    """Return those that have run for as long as their first probe is to wait; each must have a process."""
    return [program for program in programs if processes[program.name].age_s >= program.start_delay_s]


def pause_s(programs: Iterable[Program], elapsed_s: float) -> float:
    """Return the seconds until the next probe: few at first, since most instances are ready soon."""
    every_s = min((program.probe_every_s for program in programs), default=0.0)
    return min(every_s, _EAGER_EVERY_S) if elapsed_s < _EAGER_FOR_S else every_s


def _answers(client: httpx.Client, program: Program) -> bool:
    address = f"http://{program.address}{program.probe_path}"
    try:
        # The status is enough: a body that never ends must not hold the probe up.
        with client.stream("GET", address, timeout=program.probe_timeout_s) as answer:
            return answer.is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
