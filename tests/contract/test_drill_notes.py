"""What every record of drills does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.memory.drill_notes import MemoryDrillNotes
from tasks.common.drill_notes import ANSWERED, ASKED, ENDED, ROUND, DrillNote, DrillNotes, open_question
from tasks.common.errors import Refused
from tests.support.ledger import open_ledger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.server)])
def drills(request: pytest.FixtureRequest, tmp_path: Path) -> DrillNotes:
    if request.param == "memory":
        return MemoryDrillNotes()
    ledger = open_ledger(tmp_path, request.getfixturevalue("database_url"))
    ledger.prepare()
    return ledger.drills


def note(run_id: str, kind: str, number: int = 0, drill: str = "node-lost", **facts: object) -> DrillNote:
    return DrillNote(run_id, drill, "campus-copy", kind, NOON, facts, number)


def test_first_note_of_a_kind_and_round_stands_and_they_come_back_in_order(drills: DrillNotes) -> None:
    kept = [
        note("run-1", ROUND, 1, rto_s=20.5),
        note("run-1", ROUND, 2, rto_s=19.0),
        note("run-1", ENDED, error="none\0"),
    ]
    for each in (kept[0], note("run-1", ROUND, 1, rto_s=0.0), *kept[1:]):
        drills.note(each)
    drills.note(note("other", ENDED))
    assert list(drills.notes("run-1")) == [*kept[:2], note("run-1", ENDED, error="none\ufffd")]
    assert list(drills.notes("run-2")) == []


def test_beginning_of_an_id_is_enough_until_two_begin_so(drills: DrillNotes) -> None:
    drills.note(note("run-1", ENDED))
    assert [each.run_id for each in drills.notes("run")] == ["run-1"]
    drills.note(note("run-2", ENDED))
    with pytest.raises(Refused, match="2 drills begin with 'run'"):
        drills.notes("run")


def test_ends_of_an_experiment_are_returned_newest_first(drills: DrillNotes) -> None:
    for number in range(4):
        drills.note(note(f"run-{number}", ROUND, 1))
        drills.note(note(f"run-{number}", ENDED, drill="disk-full" if number == 2 else "node-lost"))
    assert [each.run_id for each in drills.ended("node-lost", 2)] == ["run-3", "run-1"]
    assert [each.run_id for each in drills.ended(None, 10)] == ["run-3", "run-2", "run-1", "run-0"]


def test_question_is_open_until_it_is_answered_or_the_run_has_ended(drills: DrillNotes) -> None:
    assert open_question(drills.notes("run-1")) is None
    expires_at = NOON + timedelta(hours=1)
    drills.note(note("run-1", ASKED, expires_at=expires_at.isoformat()))
    assert open_question(drills.notes("run-1")) == expires_at
    drills.note(note("run-1", ANSWERED, decision="approve", by="ada"))
    assert open_question(drills.notes("run-1")) is None


def test_facts_that_are_no_json_and_times_without_a_zone_are_refused(drills: DrillNotes) -> None:
    with pytest.raises(Refused):
        drills.note(note("run-1", ENDED, what=object()))
    with pytest.raises(Refused):
        drills.note(DrillNote("run-1", "node-lost", "x", ENDED, NOON.replace(tzinfo=None)))
    assert list(drills.notes("run-1")) == []
