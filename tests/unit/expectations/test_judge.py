"""What results of expectations mean for a backup."""

from dataclasses import replace

import pytest

from tasks.common.backups import RungOutcome
from tasks.expectations.judge import artifact, judge
from tasks.expectations.model import Checked, Found, Report

HELD = Checked("customer", "expect_column_values_to_not_be_null", "email", True, "", Found.HELD, unexpected=0)
FAILED = replace(HELD, found=Found.FAILED, unexpected=3, keys=("1", "2", "3"))


def report(*checked: Checked) -> Report:
    return Report(checked, 6.5, 270 << 20, "1.24.1")


@pytest.mark.parametrize(
    ("checked", "outcome"),
    [
        ((), RungOutcome.BROKEN),
        ((HELD,), RungOutcome.HELD),
        ((HELD, FAILED), RungOutcome.BROKEN),
        ((HELD, replace(FAILED, critical=False)), RungOutcome.HELD),
        ((replace(HELD, critical=False, found=Found.NOT_EVALUATED, problem="no such table"),), RungOutcome.BROKEN),
    ],
    ids=["none at all", "held", "critical failed", "warning failed", "warning not evaluated"],
)
def test_only_what_was_evaluated_and_held_passes(checked: tuple[Checked, ...], outcome: RungOutcome) -> None:
    assert judge(report(*checked)).outcome is outcome


def test_sentence_says_what_was_found_and_where() -> None:
    said = judge(report(HELD, FAILED)).said
    assert said == (
        "1 of 2 expectations of 1 table did not hold: customer.email: column values to not be null (3 rows)"
    )


def test_artifact_has_the_summary_first_then_what_broke_and_nothing_of_others_becomes_markdown() -> None:
    evil = replace(FAILED, keys=("[x](http://evil)|",), why="<b>")
    text = artifact(report(HELD, evil), judge(report(HELD, evil)))
    assert text.startswith("**Broken**: 1 of 2")
    assert text.index("| failed |") < text.index("| held |")
    assert "<b>" not in text
    assert "[x](" not in text
