"""What is announced reaches people and a real Prefect server, also about runs that another one brings to their end."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from blocks import DRIVERS
from blocks.estate import OpenEstate, settings_model
from blocks.journal import Journal, save_unsent
from blocks.memory.notifier import MemoryNotifier
from tasks.common.errors import Unsafe
from tasks.common.load import load_estate
from tasks.common.model import Drift, Target
from tasks.release.announce_steps import announce_end, announce_findings, announce_question
from tasks.release.model import Outcome, ReleaseRecord
from tasks.release.reconcile_steps import close_unstarted, deliver
from tests.support.events import await_events, names_of
from tests.support.ledger import record
from tests.support.prefect_server import flows_of
from tests.support.processes import wait_until
from tests.unit.common.files import example

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def _server(prefect_api: str) -> Iterator[None]:
    with flows_of(prefect_api):
        yield


@pytest.fixture
def begun() -> ReleaseRecord:
    """The record of a run that has no end yet, each time of another one: the server keeps the events of all."""
    return record(str(uuid4()))


@pytest.fixture
def estate(tmp_path: Path, begun: ReleaseRecord) -> OpenEstate:
    """The documented estate, with a ledger in memory, and one channel that is told everything."""
    text = example("estate.yaml", ("driver: postgresql\n  dsn: env:SLIPWAY_LEDGER", "driver: memory"))
    channel = "\nnotifications: [{driver: memory, name: all}]\n"
    opened = OpenEstate(load_estate(text + channel, "estate.yaml", settings_model, DRIVERS), tmp_path)
    opened.ledger.begin(begun)
    return opened


@pytest.fixture
def journal(estate: OpenEstate, begun: ReleaseRecord) -> Journal:
    return Journal(estate.ledger, begun.id, estate.context.secrets.redact)


def told(estate: OpenEstate) -> list[str]:
    """Return what people were told, by occasion."""
    (channel,) = estate.notifiers
    assert isinstance(channel.notifier, MemoryNotifier)
    return [message.occasion.value for message in channel.notifier.sent]


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.RUNNING])
def test_every_end_is_an_event_and_people_are_told_unless_another_run_goes_on(
    estate: OpenEstate, begun: ReleaseRecord, journal: Journal, prefect_api: str, outcome: Outcome
) -> None:
    estate.ledger.end(begun.id, outcome, datetime.now(UTC), None, None)
    announce_end(estate, estate.ledger.record(begun.id), journal)
    words = {Outcome.SUCCEEDED: "promoted"}
    assert names_of(prefect_api, begun.id) == [f"slipway.release.{words.get(outcome, outcome.value)}"]
    assert told(estate) == ([] if outcome is Outcome.INTERRUPTED else [outcome.value])


def test_question_is_an_event_and_people_are_told(
    estate: OpenEstate, begun: ReleaseRecord, journal: Journal, prefect_api: str
) -> None:
    announce_question(estate, begun, journal, "25 %", datetime.now(UTC) + timedelta(hours=1))
    assert names_of(prefect_api, begun.id) == ["slipway.release.approval-wanted"]
    assert told(estate) == ["approval-wanted"]


def test_run_that_never_had_its_turn_has_its_event_when_it_is_closed(
    estate: OpenEstate, begun: ReleaseRecord, prefect_api: str
) -> None:
    close_unstarted(estate, begun, "its run has ended")
    (event,) = await_events(prefect_api, begun.id)
    assert event["event"] == "slipway.release.failed"
    assert event["payload"]["error"] == "its run has ended; nothing was changed"


def test_end_that_stood_only_in_a_file_has_its_event_when_it_is_delivered_and_not_twice(
    estate: OpenEstate, begun: ReleaseRecord, journal: Journal, prefect_api: str
) -> None:
    journal.keep("end", Outcome.ROLLED_BACK, error="ROLLED BACK: errors", digest=None)
    save_unsent(journal, estate.workspace)
    assert len(deliver(estate)) == 1
    assert names_of(prefect_api, begun.id) == ["slipway.release.rolled-back"]
    announce_end(estate, estate.ledger.record(begun.id), journal)
    announce_question(estate, begun, journal, "start", datetime.now(UTC))
    assert names_of(prefect_api, begun.id, 2) == ["slipway.release.rolled-back", "slipway.release.approval-wanted"]


def test_words_of_a_run_that_has_no_end_yet_are_delivered_without_an_event(
    estate: OpenEstate, begun: ReleaseRecord, journal: Journal, prefect_api: str
) -> None:
    journal.keep("step", "start blue 0")
    save_unsent(journal, estate.workspace)
    assert len(deliver(estate)) == 1
    announce_question(estate, begun, journal, "start", datetime.now(UTC))
    assert names_of(prefect_api, begun.id) == ["slipway.release.approval-wanted"]


def test_findings_are_one_event_for_each_place_and_one_for_what_needs_a_person(
    estate: OpenEstate, begun: ReleaseRecord, prefect_api: str
) -> None:
    name = f"lab-{begun.id[:8]}"
    places = [Target("campus", environment, name) for environment in ("staging", "production")]
    differences = [Drift(place, f"{what} serves", "v1", "look") for place in places for what in ("nothing", "v2")]
    problem = Unsafe("it is unfinished", on=name, state="as it was", next_action="look")
    announce_findings(estate, differences, [problem])
    wanted = [f"{name}: it is unfinished", *["nothing serves; expected: v1. look"] * 2]

    def mine() -> list[dict[str, str]]:
        found = [each["payload"] for each in await_events(prefect_api, "", 3)]
        return [each for each in found if name in str(each)]

    wait_until(lambda: len(mine()) == 3, what="three events")
    assert sorted(each["error"] for each in mine()) == sorted(wanted)
    assert told(estate) == ["drift", "drift", "unsafe"]
