"""What a reconciliation reports: what a person must do first, and nothing that breaks the page."""

from tasks.common.errors import Refused, Unsafe
from tasks.common.model import Drift, Target
from tasks.release.account import NOTHING, account_text

PLACE = Target("campus", "production", "lab")
BROKEN = Unsafe("the roll-back failed", on="campus in production", state="unknown", next_action="look at HAProxy")
MOVED = Drift(PLACE, "v2 100 %", "v1 100 %, as was last recorded", "find out who moved the traffic")


def test_reconciliation_without_work_says_that_all_is_well() -> None:
    assert account_text([], [], []) == NOTHING
    assert "as it was left" in NOTHING


def test_whatever_was_found_is_counted_in_the_first_line() -> None:
    text = account_text(["a", "b"], [MOVED], [BROKEN, BROKEN, BROKEN])
    assert text.splitlines()[2] == "2 done, 1 not as they were left, 3 could not be reconciled."


def test_what_a_person_must_do_comes_before_what_was_done() -> None:
    text = account_text(["run 1234 was rolled back"], [MOVED], [BROKEN])
    assert text.index("## A person must look") < text.index("## Done") < text.index("## Not as it was left")
    assert "| campus in production | the roll-back failed | look at HAProxy |" in text
    assert "- run 1234 was rolled back" in text
    assert "| campus in production of lab | v2 100 % | v1 100 %, as was last recorded | find out who" in text


def test_parts_that_are_empty_are_left_out() -> None:
    assert "## Done" not in account_text([], [MOVED], [])
    assert "## A person must look" not in account_text(["a"], [], [])
    assert "## Not as it was left" not in account_text([], [], [BROKEN])


def test_text_from_outside_cannot_break_a_table_or_add_markup() -> None:
    evil = Refused("a | b\nc <script>", on="x|y", next_action="<b>\n| c")
    text = account_text(["d <i>\n# e"], [], [evil])
    assert "<script>" not in text
    assert "<b>" not in text
    assert "<i>" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [row.replace("\\|", "").count("|") for row in rows] == [4] * len(rows)
    assert not [line for line in text.splitlines() if line.startswith("# e")]


def test_same_findings_are_the_same_text_so_that_they_are_told_once() -> None:
    assert account_text(["a"], [MOVED], [BROKEN]) == account_text(["a"], [MOVED], [BROKEN])
