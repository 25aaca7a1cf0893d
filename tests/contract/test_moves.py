"""What every record of moves between sites does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.memory.moves import MemoryMoves
from tasks.common.errors import Refused
from tasks.common.moves import (
    ANSWERED,
    ASKED,
    DECIDED,
    ENDED,
    PROMOTING,
    Move,
    MoveKind,
    MoveNote,
    Moves,
    answer_of,
    last_target,
    open_move,
    open_question,
)
from tests.support.ledger import open_ledger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.server)])
def moves(request: pytest.FixtureRequest, tmp_path: Path) -> Moves:
    if request.param == "memory":
        return MemoryMoves()
    ledger = open_ledger(tmp_path, request.getfixturevalue("database_url"))
    ledger.prepare()
    return ledger.moves


def note(move_id: str, run_id: str, kind: str, /, failover: str = "shop", **facts: object) -> MoveNote:
    return MoveNote(move_id, run_id, failover, kind, NOON, facts)


def decided(move_id: str, **facts: object) -> MoveNote:
    about: dict[str, object] = {"kind": "failover", "source": "a", "target": "b", **facts}
    return MoveNote(move_id, move_id, "shop", DECIDED, NOON, about)


def test_first_note_of_a_kind_stands_and_they_come_back_in_order(moves: Moves) -> None:
    first = decided("run-1")
    for each in (first, decided("run-1", target="c"), note("run-1", "run-1", "step 1", said="none\0")):
        moves.note(each)
    moves.note(note("run-1", "other", "step 1"))
    assert list(moves.notes("run-1")) == [first, note("run-1", "run-1", "step 1", said="none\ufffd")]
    assert moves.notes("run-2") == []


def test_beginning_of_an_id_is_enough_until_two_begin_so(moves: Moves) -> None:
    moves.note(decided("run-1"))
    assert [each.run_id for each in moves.notes("run")] == ["run-1"]
    moves.note(decided("run-2"))
    with pytest.raises(Refused, match="2 moves between sites begin with 'run'"):
        moves.notes("run")


def test_history_is_of_the_latest_moves_of_the_failover_with_the_runs_that_carried_them_on(moves: Moves) -> None:
    moves.note(decided("run-1"))
    moves.note(decided("run-2"))
    moves.note(note("other", "run-3", DECIDED, failover="other"))
    moves.note(note("run-1", "run-4", ENDED))
    assert [each.run_id for each in moves.history("shop", 9)] == ["run-1", "run-2", "run-4"]
    assert [each.run_id for each in moves.history("shop", 1)] == ["run-1", "run-4"]
    assert moves.history("none", 9) == []


def test_move_is_open_until_a_run_has_closed_it_also_after_one_has_failed(moves: Moves) -> None:
    assert open_move(moves.history("shop", 9)) is None
    moves.note(decided("run-1", unfenced="it is off"))
    assert open_move(moves.history("shop", 9)) == Move("run-1", MoveKind.FAILOVER, "a", "b", unfenced="it is off")
    moves.note(note("run-1", "run-1", PROMOTING))
    moves.note(note("run-1", "run-1", ENDED, error="no answer"))
    found = open_move(moves.history("shop", 9))
    assert found is not None and found.promoting
    assert last_target(moves.history("shop", 9)) == ""
    moves.note(note("run-1", "run-2", ENDED, closed="reached"))
    assert open_move(moves.history("shop", 9)) is None
    assert last_target(moves.history("shop", 9)) == "b"


def test_move_that_was_turned_back_has_left_its_source_serving(moves: Moves) -> None:
    moves.note(decided("run-1"))
    moves.note(note("run-1", "run-1", ENDED, closed="turned back"))
    moves.note(decided("run-2", source="a", target="c"))
    moves.note(note("run-2", "run-2", ENDED, error="refused"))
    assert last_target(moves.history("shop", 9)) == "a"


def test_question_is_open_until_it_is_answered_or_the_run_has_ended(moves: Moves) -> None:
    assert open_question(moves.notes("run-1")) is None
    expires_at = NOON + timedelta(hours=1)
    moves.note(note("run-1", "run-1", ASKED, expires_at=expires_at.isoformat()))
    assert open_question(moves.notes("run-1")) == expires_at
    moves.note(note("run-1", "run-1", ANSWERED, decision="approve", by="ada"))
    assert open_question(moves.notes("run-1")) is None
    assert answer_of(moves.notes("run-1")) == {"decision": "approve", "by": "ada"}


def test_facts_that_are_no_json_and_times_without_a_zone_are_refused(moves: Moves) -> None:
    with pytest.raises(Refused):
        moves.note(note("run-1", "run-1", ASKED, what=object()))
    with pytest.raises(Refused):
        moves.note(MoveNote("run-1", "run-1", "shop", ENDED, NOON.replace(tzinfo=None)))
    assert moves.notes("run-1") == []
