"""Own events on a real Prefect server: they arrive, once, without a secret; and nothing waits where there is none."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow
from prefect.logging import get_logger
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.context import Context
from tasks.common import event_steps
from tasks.common.event_steps import emit
from tasks.common.events import Happened
from tasks.release.happened import end_of, question_of
from tasks.release.model import Outcome, ReleaseRecord
from tests.support.events import await_events, events_of, names_of, related_to
from tests.support.ledger import record
from tests.support.prefect_server import flows_of
from tests.support.processes import free_port, running, wait_until
from tests.support.telling import silent_server

pytestmark = pytest.mark.server

SECRET = "hunter2-hunter2"


@pytest.fixture
def redact(tmp_path: Path) -> Callable[[str], str]:
    (tmp_path / "secret").write_text(SECRET)
    context = Context(base=tmp_path)
    context.secrets.resolve("file:secret")
    return context.secrets.redact


def ended(outcome: Outcome = Outcome.UNSAFE) -> ReleaseRecord:
    """Return the record of a run of its own that has ended."""
    return replace(record(str(uuid4())), outcome=outcome, error=f"UNSAFE: no, {SECRET}\n  on: campus")


def test_end_of_a_run_arrives_with_its_place_and_without_its_secret(
    prefect_api: str, redact: Callable[[str], str]
) -> None:
    about = ended()
    with flows_of(prefect_api):
        emit(end_of(about, "lab"), redact)
        (event,) = await_events(prefect_api, about.id)
    assert event["event"] == "slipway.release.unsafe"
    assert event["resource"]["prefect.resource.id"] == "slipway.service.campus.production"
    assert event["resource"]["slipway.environment"] == "production"
    payload = event["payload"]
    assert {name: said for name, said in payload.items() if said} == {
        "estate": "lab",
        "service": "campus",
        "environment": "production",
        "release": "v1",
        "commit": "0" * 40,
        "run": about.id,
        "error": "UNSAFE: no, [redacted]",
    }
    assert {"plan", "backup", "failover", "drill"} < set(payload), "a template may name what an event does not have"


@pytest.mark.slow
def test_event_names_the_run_that_sends_it_and_the_other_run_that_it_is_about(
    prefect_api: str, redact: Callable[[str], str]
) -> None:
    dead, own = ended(), ended(Outcome.SUCCEEDED)
    ids: list[str] = []

    @flow(name="announces")
    def work() -> None:
        ids.append(str(flow_run.get_id()))
        emit(end_of(dead, "lab"), redact)
        emit(end_of(replace(own, id=ids[0]), "lab"), redact)

    with flows_of(prefect_api):
        work()
        (about_another,) = await_events(prefect_api, dead.id)
        (about_itself,) = await_events(prefect_api, ids[0])
    sender = f"prefect.flow-run.{ids[0]}"
    assert sorted(related_to(about_another, "flow-run")) == sorted([sender, f"prefect.flow-run.{dead.id}"])
    assert related_to(about_itself, "flow-run") == [sender]
    assert "announces" in {each.get("prefect.resource.name") for each in about_itself["related"]}


def test_end_that_is_sent_twice_counts_once_and_each_question_counts(
    prefect_api: str, redact: Callable[[str], str]
) -> None:
    about = ended()
    with flows_of(prefect_api):
        for _ in range(2):
            emit(end_of(about, "lab"), redact)
            emit(question_of(about, "lab"), redact)
        # The queue keeps the order: when the last one is there, the others are, too.
        last = Happened("slipway.reconcile.drift", "lab", "campus", "production", run=about.id)
        emit(last, redact)
        wait_until(lambda: last.name in {each["event"] for each in events_of(prefect_api, about.id)}, what="the last")
    assert sorted(names_of(prefect_api, about.id)) == [
        "slipway.reconcile.drift",
        *["slipway.release.approval-wanted"] * 2,
        "slipway.release.unsafe",
    ]


@contextmanager
def nowhere() -> Iterator[int]:
    yield free_port()


SENDS = """
from tasks.common.event_steps import emit
from tasks.common.events import Happened
print("begins", flush=True)
for _ in range(20):
    emit(Happened("slipway.reconcile.unsettled", "lab"), str)
print("goes on", flush=True)
"""


@pytest.mark.parametrize("server", [nowhere, silent_server], ids=["away", "silent"])
def test_nothing_waits_for_a_prefect_server_that_does_not_answer(tmp_path: Path, server: Callable[[], Any]) -> None:
    log = tmp_path / "log"
    # A process of its own, as Prefect has one queue for all events of a process, whatever server they are for.
    with (
        server() as port,
        running([sys.executable, "-c", SENDS], log=log, env={"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}),
    ):
        wait_until(lambda: "begins" in log.read_text(), what="a process that sends events")
        # A single attempt to connect to the silent one takes Prefect's client 10 s.
        wait_until(lambda: "goes on" in log.read_text(), within_s=5.0, what="work that does not wait")
    assert "was not sent" not in log.read_text()


def test_without_an_address_nothing_is_sent_and_no_server_is_started(
    redact: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(event_steps, "emit_event", lambda name, **_: sent.append(name))
    with temporary_settings({PREFECT_API_URL: None}):
        emit(end_of(ended(), "lab"), redact)
    assert sent == []
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        emit(end_of(ended(), "lab"), redact)
    assert sent == ["slipway.release.unsafe"]


def test_bug_in_sending_fails_nothing_and_its_text_is_not_shown(
    redact: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(event_steps, "emit_event", broken)
    # Prefect's loggers do not pass on to pytest's.
    get_logger("slipway").addHandler(caplog.handler)
    try:
        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
            emit(end_of(ended(), "lab"), redact)
    finally:
        get_logger("slipway").removeHandler(caplog.handler)
    assert "slipway.release.unsafe was not sent: unexpected RuntimeError" in caplog.text
    assert SECRET not in caplog.text
