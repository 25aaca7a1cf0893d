"""What people are told: what happened, why, what to do next."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tasks.common.errors import Refused, Unsafe
from tasks.common.model import Target
from tasks.common.occasion import Occasion
from tasks.notify.messages import approval_wanted, drift, ended, error_rows, reconciled, unsettled
from tasks.notify.model import About, Topic
from tasks.release.model import Kind, Outcome
from tests.support.ledger import record
from tests.support.notifying import NOON

LATER = NOON + timedelta(minutes=5)
PLACE = Target("campus", "production", "lab")
CAMPUS = About(Topic.RELEASE, "lab", "campus", "production")


@pytest.mark.parametrize(
    ("outcome", "how"),
    [
        (Outcome.SUCCEEDED, "release succeeded"),
        (Outcome.FAILED, "release failed; production was not changed"),
        (Outcome.ROLLED_BACK, "release rolled back; the former release serves production"),
        (Outcome.UNSAFE, "release NEEDS A PERSON NOW; the state of production is not known to be good"),
    ],
)
def test_title_says_what_where_and_how_it_ended(outcome: Outcome, how: str) -> None:
    found = ended(replace(record(), outcome=outcome), "lab", LATER)
    assert found.title == f"campus 0000000 to production: {how}"
    assert (found.occasion, found.about) == (Occasion(outcome.value), CAMPUS)


def test_why_state_and_next_action_are_those_of_the_error() -> None:
    error = Unsafe(
        "the roll-back failed", on="campus", state="half of it\nis gone", next_action="call ada", facts={"next": "no"}
    )
    found = ended(replace(record(), outcome=Outcome.UNSAFE, error=str(error)), "lab", LATER, "https://prefect.example")
    assert found.text.splitlines() == [
        "The release NEEDS A PERSON NOW; the state of production is not known to be good.",
        "Commit: Say hello",
        "Why: UNSAFE: the roll-back failed",
        "State: half of it",
        "is gone",
        "Next: call ada",
    ]
    assert found.link == "https://prefect.example"


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.UNSAFE])
def test_there_is_always_a_next_action(outcome: Outcome) -> None:
    text = ended(replace(record(), outcome=outcome, error="Killed"), "lab", LATER).text
    assert text.splitlines()[-1].startswith("Next: ")
    assert "Why: Killed" in text


def test_facts_say_who_how_long_and_which_run() -> None:
    found = ended(replace(record(), kind=Kind.ROLLBACK, outcome=Outcome.SUCCEEDED), "lab", LATER)
    assert found.facts == {
        "commit": "0" * 40,
        "asked for by": "ada (not authenticated)",
        "took": "5 min",
        "run": "run-1",
    }
    assert "rollback succeeded" in found.title


@pytest.mark.parametrize("outcome", [Outcome.RUNNING, Outcome.INTERRUPTED])
def test_run_that_has_not_ended_is_nothing_to_tell(outcome: Outcome) -> None:
    with pytest.raises(ValueError, match=outcome.value):
        ended(replace(record(), outcome=outcome), "lab", LATER)


def test_request_for_approval_says_who_what_until_when_and_how_to_answer() -> None:
    found = approval_wanted(record(), "lab", NOON, LATER, before="25 %", risk="migrations")
    assert found.title == "campus 0000000 to production: approval wanted before 25 %"
    assert found.occasion is Occasion.APPROVAL_WANTED
    for part in (
        "ada (not authenticated) asks to release 0000000 to production",
        "Risk: migrations",
        "ends at 2026-03-01 12:05:00 UTC",
        "slipway approve run-1 --reason TEXT",
        "'reject' instead",
        "rolled back then",
    ):
        assert part in found.text
    assert "Risk" not in approval_wanted(record(), "lab", NOON, LATER, before="start").text


def test_reconciled_says_what_was_found_done_and_is_next() -> None:
    found = reconciled(PLACE, NOON, found="a dead run", done="rolled back", next_action="look")
    assert found.text == "Found: a dead run\nDone: rolled back\nNext: look"
    assert (found.title, found.occasion) == ("campus in production: reconciled: rolled back", Occasion.RECONCILED)


def test_drift_lists_every_difference_and_says_that_nothing_was_changed() -> None:
    found = drift(PLACE, NOON, ["weight of blue is 7 %", "server green 1 is gone"])
    assert found.text.splitlines()[:3] == [
        "- weight of blue is 7 %",
        "- server green 1 is gone",
        "Nothing was changed.",
    ]
    assert found.occasion is Occasion.DRIFT


def test_what_could_not_be_reconciled_is_about_the_whole_estate() -> None:
    found = unsettled("lab", NOON, ["campus in production: unfinished", "the ledger: silent"])
    assert found.title == "lab: NEEDS A PERSON NOW; 2 things could not be reconciled"
    assert found.text.splitlines()[:2] == ["- campus in production: unfinished", "- the ledger: silent"]
    assert (found.occasion, str(found.about)) == (Occasion.UNSAFE, "lab")


def test_rollback_is_about_what_a_release_is_about_and_drift_is_not() -> None:
    back = ended(replace(record(), kind=Kind.ROLLBACK, outcome=Outcome.SUCCEEDED), "lab", LATER)
    lost = reconciled(PLACE, NOON, found="", done="", next_action="")
    asked = approval_wanted(record(), "lab", NOON, LATER, before="start")
    assert back.about == lost.about == asked.about == CAMPUS
    assert drift(PLACE, NOON, []).about == replace(CAMPUS, topic=Topic.DRIFT)


@pytest.mark.parametrize(
    ("text", "first", "rows"), [("", "", {}), ("Killed", "Killed", {}), ("a\n  b\nnext: c", "a", {})]
)
def test_error_that_is_no_block_has_a_first_line_only(text: str, first: str, rows: dict[str, str]) -> None:
    assert error_rows(text) == (first, rows)


def test_rows_of_an_error_block_are_found_again() -> None:
    error = Refused("no", on="here", next_action="mend\nit", facts={"last lines": "next: a\n  state: b"})
    assert error_rows(str(error)) == (
        "Refused: no",
        {"on": "here", "state": "nothing was changed", "next": "mend\nit", "last lines": "next: a\nstate: b"},
    )
