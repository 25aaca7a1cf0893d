"""What is kept of a round: it says by which lines it was changed."""

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tasks.drill.recount import differences, facts_of, seal
from tests.unit.drill.logs import log
from tests.unit.drill.test_judge import judged

LINES = [f"line {number}\n" for number in range(1, 231)]


def said(lines: Sequence[str]) -> str:
    one = judged(log(70, [(10, 30)]))
    recorded = json.loads(json.dumps(facts_of(one, seal(LINES))))
    return "\n".join(differences(recorded, facts_of(one, seal(lines))))


def test_log_that_was_left_alone_differs_in_nothing() -> None:
    assert said(list(LINES)) == ""


@given(number=st.integers(1, 230))
def test_line_that_was_forged_is_named_to_fifty_lines(number: int) -> None:
    first = (number - 1) // 50 * 50 + 1
    forged = [*LINES[: number - 1], "another\n", *LINES[number:]]
    assert f"the client's log: from line {first} to {first + 49}, it is not as it was" in said(forged)


@given(number=st.integers(1, 200))
def test_line_that_is_missing_is_named_by_where_the_log_begins_to_differ(number: int) -> None:
    first = (number - 1) // 50 * 50 + 1
    assert f"from line {first} on" in said([*LINES[: number - 1], *LINES[number:]])


def test_lines_that_were_added_at_the_end_are_named() -> None:
    assert "from line 201 " in said([*LINES, "one more\n"])
    assert "from line 201 " in said([*LINES, *LINES])
    assert "from line 201 " in said(LINES[:200])
