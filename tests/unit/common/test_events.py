"""Own events: the tables and the page say the same, examples are true, and no secret is in a payload."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.events.schemas.deployment_triggers import DeploymentTriggerTypes
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from pydantic import TypeAdapter

from tasks.common.events import ERROR_AT_MOST, EVENTS, PAYLOAD, Happened
from tasks.release.happened import end_of, question_of
from tasks.release.model import Kind, Outcome, ReleaseRecord
from tests.support.docs import ROOT, blocks_of, files_of, section
from tests.support.ledger import record

PAGE = ROOT / "docs/reference/events.md"
ENDED = [outcome for outcome in Outcome if outcome is not Outcome.RUNNING]


def rolled_back() -> ReleaseRecord:
    """Return the record that the page's example is about."""
    return replace(
        record("0f8fad5b-d9cb-469f-a165-70867728950e"),
        release="3f2c1a9d5b7e",
        commit="3f2c1a9d5b7e8f60123456789abcdef012345678",
        outcome=Outcome.ROLLED_BACK,
        error="Refused: canary 5 %: error_rate is 9 %\n  on: campus\n  next: mend the commit",
    )


def received(happened: Happened) -> ReceivedEvent:
    """Return the event as the Prefect server has it."""
    return ReceivedEvent(
        occurred=datetime.now(UTC),
        received=datetime.now(UTC),
        event=happened.name,
        resource=happened.resource,
        payload=happened.payload(str),
        id="0f8fad5b-d9cb-469f-a165-70867728950f",
    )


def rows(title: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `([a-z.-]+)` \| (.+) \|$", section(PAGE, title), re.MULTILINE))


def test_page_lists_every_event_and_every_value_of_a_payload() -> None:
    assert rows("Names") == EVENTS
    assert rows("What an event holds") == PAYLOAD
    assert f"cut after\n{ERROR_AT_MOST} characters" in section(PAGE, "What an event holds")


def test_documented_event_is_what_is_sent() -> None:
    (shown,) = blocks_of(PAGE, "json")
    happened = end_of(rolled_back(), "lab")
    assert json.loads(shown) == {
        "event": happened.name,
        "resource": happened.resource,
        "payload": happened.payload(str),
    }


def documented_trigger() -> dict[str, Any]:
    """Return the trigger of the page's example."""
    (deployment,) = yaml.safe_load(files_of(PAGE)["prefect.yaml"])["deployments"]
    (trigger,) = deployment["triggers"]
    return dict(trigger)


def parse(trigger: dict[str, Any]) -> Any:
    """Return the trigger as `prefect deploy` reads it."""
    parsed: Any = TypeAdapter(DeploymentTriggerTypes).validate_python(trigger)
    parsed.set_deployment_id(UUID(int=1))
    return parsed


def server_trigger(parsed: Any) -> EventTrigger:
    """Return the trigger as the Prefect server judges events by it."""
    return EventTrigger.model_validate(parsed.as_automation().trigger.model_dump(mode="json"))


def test_documented_automation_is_one_for_prefect_and_is_started_by_the_documented_events_alone() -> None:
    parsed = parse(documented_trigger())
    assert parsed.parameters == {"service": "{{ event.payload.service }}", "release": "{{ event.payload.release }}"}
    assert set(parsed.expect) <= EVENTS.keys()
    trigger = server_trigger(parsed)
    started = {
        (kind, outcome, environment): trigger.covers(
            received(end_of(replace(rolled_back(), kind=kind, outcome=outcome, environment=environment), "lab"))
        )
        for kind in Kind
        for outcome in ENDED
        for environment in ("staging", "production")
    }
    assert {case for case, fits in started.items() if fits} == {
        (kind, Outcome.SUCCEEDED, "production") for kind in Kind
    }


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"expect": ["slipway.release.*"]}, True),
        ({"match": {"prefect.resource.id": "slipway.service.*"}}, True),
        ({"match": {"slipway.environment": "production"}}, True),
        ({"match": {"slipway.environment": "staging"}}, False),
        ({"expect": ["slipway.rollback.*"]}, False),
    ],
    ids=str,
)
def test_patterns_that_the_page_names_work(change: dict[str, Any], fits: bool) -> None:
    parsed = parse(documented_trigger() | change)
    trigger = server_trigger(parsed)
    assert trigger.covers(received(end_of(replace(rolled_back(), outcome=Outcome.SUCCEEDED), "lab"))) is fits


def test_every_event_of_the_table_is_sent_by_something_and_nothing_else_is() -> None:
    ends = {end_of(replace(record(), kind=kind, outcome=outcome), "lab").name for kind in Kind for outcome in ENDED}
    capabilities = (
        "release/announce_steps",
        "restore/announce_steps",
        "drill/announce_steps",
        "failover/announce_steps",
        "backup/steps",
        "verification/steps",
        "challenge/conclude_steps",
    )
    senders = [*(f"tasks/{each}.py" for each in capabilities), "deployments/watching/telling.py"]
    source = "".join((ROOT / each).read_text(encoding="utf-8") for each in senders)
    literal = set(re.findall(r'"(slipway\.[a-z.-]+)"', source))
    assert ends | {question_of(record(), "lab").name} | literal == EVENTS.keys()
    with pytest.raises(ValueError, match=r"slipway\.release\.gone"):
        Happened("slipway.release.gone", "lab")


def test_error_is_its_first_line_without_a_secret_or_its_half() -> None:
    secret = "hunter2-hunter2"
    hostile = replace(rolled_back(), error="x" * (ERROR_AT_MOST - 7) + f"{secret}\nsecond line")
    payload = end_of(hostile, "lab").payload(lambda text: text.replace(secret, "[redacted]"))
    assert len(payload["error"]) == ERROR_AT_MOST
    assert "hunter" not in json.dumps(payload)
    assert "second" not in payload["error"]


def test_every_value_of_a_payload_is_redacted() -> None:
    whole = Happened("slipway.reconcile.drift", *"abcdefghijklmnop")
    assert whole.payload(lambda text: f"<{text}>") == {
        name: f"<{letter}>" for name, letter in zip(PAYLOAD, "abcdefghijklmnop", strict=True)
    }


def test_backup_has_happened_to_its_plan() -> None:
    happened = Happened("slipway.backup.taken", "lab", plan="campus-db")
    assert happened.resource["prefect.resource.id"] == "slipway.backup.lab.campus-db"
    assert "`slipway.backup.lab.campus-db`" in section(PAGE, "What an event holds")


def test_what_is_about_no_service_has_happened_to_the_estate() -> None:
    happened = Happened("slipway.reconcile.unsettled", "lab", error="two")
    assert happened.resource["prefect.resource.id"] == "slipway.estate.lab"
    assert "slipway.service" not in happened.resource
