"""What climbing the ladder over a damaged copy says of the ladder."""

import pytest

from tasks.challenge.judge import error_of, headline, judge_control, judge_trial
from tasks.common.backups import RungOutcome
from tasks.common.challenges import TrialOutcome, Verdict
from tasks.common.errors import Refused, Unsafe
from tests.support.catalogue import rung
from tests.support.challenges import UNSOUND, challenge, trial

HELD, BROKEN, LEFT_OUT = RungOutcome.HELD, RungOutcome.BROKEN, RungOutcome.LEFT_OUT
FOUND, NOT_FOUND = TrialOutcome.FOUND, TrialOutcome.NOT_FOUND


def test_damage_is_found_by_the_first_rung_that_is_broken() -> None:
    rungs = [rung(HELD, "freshness"), rung(BROKEN, "restore"), rung(BROKEN, "schema")]
    found = judge_trial("flipped byte", "byte 7", "repository", rungs, 2.0)
    assert (found.outcome, found.found_by, found.late) == (FOUND, "restore", True)
    assert found.said == "the restore were looked at"


def test_damage_that_the_rung_itself_finds_is_not_late() -> None:
    assert not judge_trial("f", "d", "restore", [rung(BROKEN, "restore")], 2.0).late


@pytest.mark.parametrize("outcome", [HELD, LEFT_OUT])
def test_rung_that_held_or_was_left_out_has_found_nothing(outcome: RungOutcome) -> None:
    missed = judge_trial("f", "d", "schema", [rung(HELD, "restore"), rung(outcome, "schema")], 2.0)
    assert (missed.outcome, missed.found_by, missed.late) == (NOT_FOUND, "", False)
    assert missed.said == "'schema': the schema were looked at"


def test_nothing_that_was_looked_at_is_no_sound_control() -> None:
    assert judge_control("copy", [rung(HELD, "restore"), rung(LEFT_OUT, "schema")], 1.0).sound
    assert not judge_control("copy", [rung(LEFT_OUT, "restore")], 1.0).sound
    assert not judge_control("copy", [], 1.0).sound
    broken = judge_control("copy", [rung(HELD, "restore"), rung(BROKEN, "schema")], 1.0)
    assert not broken.sound and broken.said.startswith("schema: ")


def test_one_damage_that_was_not_found_is_the_verdict_and_an_error_for_a_person() -> None:
    found = challenge(trial(), trial(NOT_FOUND, "broken foreign key"), trial(TrialOutcome.UNDECIDED, "x"))
    assert found.verdict is Verdict.NOT_FOUND
    assert headline(found) == "NOT FOUND: broken foreign key"
    error = error_of(found)
    assert isinstance(error, Unsafe) and "broken foreign key" in error.facts


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (challenge(trial(), trial(NOT_FOUND), control=UNSOUND), "the undamaged copy was not found sound: schema"),
        (challenge(trial(), trial(TrialOutcome.UNDECIDED, "truncated file")), "truncated file: it is not"),
        (challenge(trial(TrialOutcome.LEFT_OUT)), "no damage could be made"),
        (challenge(), "no damage could be made"),
    ],
    ids=["control", "undecided", "all left out", "none"],
)
def test_without_a_sound_control_or_an_end_nothing_is_proven(found: object, said: str) -> None:
    assert found.verdict is Verdict.NO_VERDICT  # type: ignore[attr-defined]
    assert headline(found).startswith(f"No verdict: {said}")  # type: ignore[arg-type]
    assert isinstance(error_of(found), Refused)  # type: ignore[arg-type]


def test_what_was_left_out_is_named_and_never_counted_as_found() -> None:
    found = challenge(
        trial(), trial(found_by="restore", fault="truncated file"), trial(TrialOutcome.LEFT_OUT, "no WAL")
    )
    assert found.verdict is Verdict.PROVEN and error_of(found) is None
    assert headline(found) == (
        "Every damage was found (2 of 2); not by the rung that should: truncated file; left out: no WAL"
    )
