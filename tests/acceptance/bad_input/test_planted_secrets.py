"""Secrets that builds, tests, scanners and instances print are told to nobody."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.logging.handlers import APILogHandler

from tasks.release.model import Outcome
from tests.support.events import await_events
from tests.support.small import Ended, Small, sarif
from tests.support.small_checks import (
    RUN_VALUE,
    TEST_VALUE,
    assert_recorded,
    assert_untouched,
    facts_of,
    python,
)

pytestmark = pytest.mark.server


def test_planted_secrets_are_found_nowhere(small: Small, serving: str, tmp_path: Path, prefect_api: str) -> None:
    planted = tmp_path / "planted"
    planted.write_text(RUN_VALUE)
    leak = f"print('build says', open({str(planted)!r}).read())"
    commit = small.commit(
        build={"command": python(leak), "include": ["app.py", "answers.json"]},
        test={"steps": [{"name": "unit", "command": python(_TELL_TEST)}], "secrets": ["TEST_TOKEN"]},
        scan=[{"tool": "leaky", "command": [*python(_TELL_SCAN), "{output}"], "fail_on": ["critical"]}],
        answers={"says": ["cannot use {TOKEN}"], "exit": 3},
        files={"report.sarif": sarif(f"found {RUN_VALUE} and {TEST_VALUE}")},
    )
    with seen_arguments() as arguments:
        ended = small.release(commit)
    assert "cannot use [redacted]" in facts_of(ended)["last lines"]
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)
    told = {
        "the error": str(ended.error),
        "the ledger": f"{small.record(ended)} {small.ledger.evidence(ended.run_id)}",
        "the logs": _logs(ended),
        "the Prefect server": _prefect_objects(ended),
        "our event": str(await_events(prefect_api, ended.run_id)),
        "process arguments": "\n".join(arguments),
    }
    assert "build says [redacted]" in told["the logs"]
    assert "test says [redacted]" in told["the logs"]
    assert "scan says [redacted]" in told["the logs"]
    assert "found [redacted] and [redacted]" in told["the Prefect server"].replace("\\", ""), "Markdown's escapes apart"
    assert "app.py" in told["process arguments"]
    assert "slipway.release.failed" in told["our event"]
    for value in (RUN_VALUE, TEST_VALUE):
        assert [place for place, text in told.items() if value in text] == []


_TELL_TEST = "import os; print('test says', os.environ['TEST_TOKEN'])"
_TELL_SCAN = (
    "import json, shutil, sys; shutil.copy('report.sarif', sys.argv[1]); "
    "print('scan says', json.load(open('report.sarif'))['runs'][0]['results'][0]['message']['text'].split()[1])"
)


@contextlib.contextmanager
def seen_arguments() -> Iterator[set[str]]:
    """Collects the arguments of every process of this machine that could be seen during a `with`."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.add(path.read_bytes().decode(errors="replace"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _logs(ended: Ended) -> str:
    APILogHandler().flush()
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(ended.run_id)]))
    with get_client(sync_client=True) as client:
        lines = client.read_logs(log_filter=wanted, limit=200)
        while len(lines) % 200 == 0 and (more := client.read_logs(log_filter=wanted, limit=200, offset=len(lines))):
            lines += more
    return "\n".join(line.message for line in lines)


def _prefect_objects(ended: Ended) -> str:
    """Return flow run, task runs and artifacts as the API tells them."""
    of_run = {"flow_runs": {"id": {"any_": [ended.run_id]}}}
    with get_client(sync_client=True) as client:
        answers = [
            client.request("POST", "/flow_runs/filter", json=of_run),
            client.request("POST", "/task_runs/filter", json=of_run),
            client.request("POST", "/artifacts/filter", json=of_run),
        ]
    return "\n".join(answer.raise_for_status().text for answer in answers)
