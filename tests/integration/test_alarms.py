"""Alarms: found by a real Prefect server, told by the receiver; and what cannot be told by it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed, Failed, Running

from blocks.context import Context
from blocks.memory.deliveries import MemoryDeliveries
from blocks.memory.notifier import MemoryNotifier
from blocks.secrets import Secrets
from blocks.server import PrefectServer
from deployments.receiver.alarms import ONCE_IN_S, Alarms
from deployments.receiver.dispatcher import Dispatcher
from deployments.receiver.finding import find_run
from deployments.receiver.inside import make_inside
from deployments.receiver.seen import Seen
from tasks.common.errors import Retryable
from tasks.common.event_steps import emit
from tasks.common.events import Happened
from tasks.common.occasion import Occasion
from tasks.notify.alarms import Run
from tasks.notify.messages import backup_taken
from tasks.notify.model import Delivery, Message
from tasks.notify.ports import Channel
from tasks.notify.steps import Sending
from tasks.server.model import Kind, Resource
from tasks.server.wanted import SCHEDULED, wanted
from tests.support.prefect_server import flows_of
from tests.support.processes import wait_until
from tests.support.receiving import serving
from tests.support.server import FLOWS, NIGHTLY, estate

RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"
KNOWN = Run(RUN, "campus in production", "monitor", "2 of 9 requests failed", "campus", "production", "nightly")
PLAN = {"engine": {"driver": "memory"}, "objectives": {"rto": "15m", "rpo": "5m"}, "backup_within": "26h"}
HOW = {"database": {"driver": "memory"}, "scratch": {"driver": "memory"}, "name": "campus"}
PLANS = {"campus-db": {**PLAN, "verification": HOW}, "uploads": PLAN}
SCHEDULES = {"nightly": {**NIGHTLY, "parameters": {"service": "campus"}}, "weekly": {"start": "release", "every": "7d"}}


@dataclass
class Place:
    """The receiver's address for the team, and what its one channel was told."""

    find: Callable[[str], Run | None]
    now_s: float = 0.0

    def __post_init__(self) -> None:
        seen = Seen()
        notifier = MemoryNotifier(MemoryNotifier.Settings(), Context(base=Path(), secrets=Secrets()))
        self.told = notifier.sent
        channel = Channel("chat", notifier, frozenset(Occasion))
        alarms = Alarms(
            estate(schedules=SCHEDULES, backups=PLANS), [channel], self.find, send, seen, lambda: self.now_s
        )
        deliveries = MemoryDeliveries()
        dispatcher = Dispatcher(deliveries, lambda *_: "", str, seen)
        self.app = make_inside(deliveries, dispatcher, alarms, seen, "testserver")
        self.client = TestClient(self.app)

    def ring(self, **alarm: object) -> int:
        return self.client.post("/alarms", json=alarm).status_code


def send(channels: Sequence[Channel], message: Message) -> Sequence[Delivery]:
    return Sending(message, channels, 5.0).deliveries()


def test_alarms_are_told_with_what_is_known_of_them() -> None:
    place = Place(lambda run_id: replace(KNOWN, id=run_id))
    assert place.ring(alarm="crashed", run=f"prefect.flow-run.{RUN}") == 202
    assert place.ring(alarm="failed", run=f"prefect.flow-run.{RUN}") == 202
    assert place.ring(alarm="overdue", schedule="nightly") == 202
    crashed, failed, overdue = place.told
    assert (crashed.occasion, crashed.title) == (Occasion.CRASHED, "monitor 'campus in production' has died")
    assert failed.text.startswith("2 of 9 requests failed\nNext: ")
    assert overdue.title == "nightly (release) has not succeeded for 26 h"
    assert {(each.about.service, each.about.schedule) for each in place.told} == {("campus", "nightly")}
    assert 'slipway_alarms_total{result="told"} 3.0' in place.client.get("/metrics").text


def test_plan_without_a_backup_or_a_verification_in_time_is_told_of() -> None:
    place = Place(lambda run_id: KNOWN)
    assert place.ring(alarm="no-backup", plan="campus-db") == 202
    assert place.ring(alarm="no-backup", plan="uploads") == 202
    assert place.ring(alarm="no-verification", plan="campus-db") == 202
    assert [each.title for each in place.told] == [
        "no backup of campus-db has succeeded for 26 h",
        "no backup of uploads has succeeded for 26 h",
        "no verification of campus-db has succeeded for 50 h",
    ]
    assert all(each.occasion is Occasion.OVERDUE and "'slipway backups'" in each.text for each in place.told)
    late, _, unproven = place.told
    assert late.about == backup_taken("campus-db", "small", late.at).about, "the next backup ends the trouble"
    assert unproven.about != late.about


@pytest.mark.parametrize(
    "alarm",
    [
        {"alarm": "no-backup", "plan": "unknown"},
        {"alarm": "no-verification", "plan": "uploads"},  # nothing would restore it
        {"alarm": "overdue", "schedule": "unknown"},
        {"alarm": "overdue", "schedule": "weekly"},  # it has no success_within
        {"alarm": "overdue"},
        {"alarm": "crashed", "run": RUN},  # the server does not know it
        {"alarm": "crashed", "run": "production is down, call 555-0100"},
        {"alarm": "crashed"},
    ],
)
def test_what_is_not_true_here_is_told_to_nobody(alarm: dict[str, object]) -> None:
    place = Place(lambda run_id: None)
    assert place.ring(**alarm) == 202
    assert place.told == []


@pytest.mark.parametrize(
    "alarm",
    [{"alarm": "fire"}, {"alarm": "overdue", "schedule": "nightly", "text": "call 555-0100"}, {"schedule": "nightly"}],
)
def test_what_is_no_alarm_is_refused(alarm: dict[str, object]) -> None:
    place = Place(lambda run_id: KNOWN)
    assert place.ring(**alarm) == 422
    assert place.told == []


def test_page_from_elsewhere_cannot_ring() -> None:
    place = Place(lambda run_id: KNOWN)
    body = '{"alarm": "overdue", "schedule": "nightly"}'
    assert place.client.post("/alarms", content=body, headers={"content-type": "text/plain"}).status_code == 422
    assert place.told == []


def test_same_alarm_is_told_once_in_a_while() -> None:
    place = Place(lambda run_id: KNOWN)
    for now_s in (0.0, ONCE_IN_S - 1, ONCE_IN_S):
        place.now_s = now_s
        place.ring(alarm="overdue", schedule="nightly")
    assert len(place.told) == 2


def test_server_that_cannot_say_what_run_it_is_is_told_so() -> None:
    def away(run_id: str) -> Run | None:
        raise Retryable("the Prefect server does not answer", on="it", next_action="look")

    place = Place(away)
    answer = place.client.post("/alarms", json={"alarm": "crashed", "run": RUN})
    assert (answer.status_code, "nobody was told" in answer.text) == (503, True)


@flow(name="watched")
def watched() -> None:
    """In place of any flow of ours."""


def shortened(found: Resource) -> Resource:
    """Return an alarm about what is overdue that goes out within seconds."""
    trigger = found.spec["trigger"]
    assert isinstance(trigger, dict)
    within = 12.0 if trigger["posture"] == "Proactive" else trigger["within"]
    return replace(found, spec={**found.spec, "trigger": {**trigger, "within": within}})


@pytest.mark.server
@pytest.mark.slow
def test_prefect_server_finds_what_is_wrong_and_people_are_told(prefect_api: str) -> None:
    def find(run_id: str) -> Run | None:
        # The receiver's threads know nothing of this one's settings.
        with temporary_settings({PREFECT_API_URL: prefect_api}):
            return find_run(run_id)

    place = Place(find)
    with serving(place.app) as port, flows_of(prefect_api), get_client(sync_client=True) as client:
        here = estate(schedules=SCHEDULES, backups=PLANS, receiver=f"http://127.0.0.1:{port}")
        goal = [each for each in wanted(FLOWS, here) if each.kind in (Kind.BLOCK, Kind.AUTOMATION)]
        alarms = [each for each in goal if "call" in str(each.spec) or each.kind is Kind.BLOCK]
        server = PrefectServer()
        for each in alarms:
            server.make(shortened(each) if each.kind is Kind.AUTOMATION else each)
        try:
            deployment = client.create_deployment(client.create_flow(watched), "nightly", tags=["slipway", SCHEDULED])
            runs: dict[str, FlowRun] = {}
            for name, state in (("dead", Crashed(message="gone")), ("failed", Failed(message="2 of 9 failed"))):
                runs[name] = client.create_flow_run_from_deployment(deployment, name=name)
                client.set_flow_run_state(runs[name].id, Running(), force=True)
                client.set_flow_run_state(runs[name].id, state, force=True)

            def all_told() -> bool:
                # Of one plan backups come, and so no alarm of it.
                emit(Happened("slipway.backup.taken", here.estate, plan="uploads"), str)
                return len(place.told) >= 5

            wait_until(all_told, within_s=90, what="all five alarms", every_s=0.5)
        finally:
            for each in reversed(alarms):
                server.remove(each)
            client.delete_deployment(deployment)
    plans = {each.title for each in place.told if "plan" in each.facts}
    assert plans == {
        f"no {what} of campus-db has succeeded for {h} h" for what, h in (("backup", 26), ("verification", 50))
    }
    told = {each.occasion: each for each in place.told if "plan" not in each.facts}
    assert told.keys() == {Occasion.CRASHED, Occasion.FAILED, Occasion.OVERDUE}
    assert told[Occasion.CRASHED].title == "watched 'dead' has died"
    assert told[Occasion.FAILED].text.startswith("2 of 9 failed")
    assert str(runs["failed"].id) in told[Occasion.FAILED].link
    assert told[Occasion.OVERDUE].about.schedule == "nightly"
