"""What every record of restores does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.memory.restores import MemoryRestores
from tasks.common.errors import Refused
from tasks.common.restores import ANSWERED, ASKED, ENDED, RestoreNote, Restores, answer_of, open_question
from tests.support.ledger import open_ledger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.server)])
def restores(request: pytest.FixtureRequest, tmp_path: Path) -> Restores:
    if request.param == "memory":
        return MemoryRestores()
    ledger = open_ledger(tmp_path, request.getfixturevalue("database_url"))
    ledger.prepare()
    return ledger.restores


def note(run_id: str, kind: str, **facts: object) -> RestoreNote:
    return RestoreNote(run_id, "db", "spare", kind, NOON, facts)


def test_first_note_of_a_kind_stands_and_they_come_back_in_order(restores: Restores) -> None:
    first = note("run-1", ASKED, expires_at=NOON.isoformat())
    for each in (first, note("run-1", ASKED, expires_at="later"), note("run-1", ENDED, error="none\0")):
        restores.note(each)
    restores.note(note("other", ASKED, expires_at=NOON.isoformat()))
    assert list(restores.notes("run-1")) == [first, note("run-1", ENDED, error="none\ufffd")]
    assert restores.notes("run-2") == []


def test_beginning_of_an_id_is_enough_until_two_begin_so(restores: Restores) -> None:
    restores.note(note("run-1", ENDED))
    assert [each.run_id for each in restores.notes("run")] == ["run-1"]
    restores.note(note("run-2", ENDED))
    with pytest.raises(Refused, match="2 restores begin with 'run'"):
        restores.notes("run")


def test_question_is_open_until_it_is_answered_or_the_run_has_ended(restores: Restores) -> None:
    assert open_question(restores.notes("run-1")) is None
    expires_at = NOON + timedelta(hours=1)
    restores.note(note("run-1", ASKED, expires_at=expires_at.isoformat()))
    assert open_question(restores.notes("run-1")) == expires_at
    restores.note(note("run-1", ANSWERED, decision="approve", by="ada"))
    assert open_question(restores.notes("run-1")) is None
    assert answer_of(restores.notes("run-1")) == {"decision": "approve", "by": "ada"}


def test_facts_that_are_no_json_and_times_without_a_zone_are_refused(restores: Restores) -> None:
    with pytest.raises(Refused):
        restores.note(note("run-1", ENDED, what=object()))
    with pytest.raises(Refused):
        restores.note(RestoreNote("run-1", "db", "spare", ENDED, NOON.replace(tzinfo=None)))
    assert restores.notes("run-1") == []
