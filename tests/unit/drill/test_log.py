"""The client's log comes back as it was said, and half a log is never taken for a whole one."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.errors import Unsafe
from tasks.drill.log import end_line, late_line, operation_line, parse, sample_line, start_line
from tasks.drill.measure import Kind, Operation, Result, Sample
from tasks.drill.model import NodeState

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS = st.floats(0, 1e6).map(lambda value: round(value, 6))
OPERATIONS = st.builds(
    Operation,
    st.text(min_size=1),
    st.sampled_from(sorted(Kind)),
    SECONDS,
    SECONDS,
    st.sampled_from(sorted(Result)),
    st.text(),
)
SAMPLES = st.builds(Sample, st.text(min_size=1), SECONDS, SECONDS, st.sampled_from(sorted(NodeState)))


@given(operations=st.lists(OPERATIONS, max_size=5), samples=st.lists(SAMPLES, max_size=5))
def test_log_comes_back_as_it_was_said(operations: list[Operation], samples: list[Sample]) -> None:
    lines = [start_line("run1", NOON, 5.0), late_line(7.0, 0.5), late_line(8.0, 0.25)]
    lines += [*map(operation_line, operations), *map(sample_line, samples), end_line(9.0)]
    found = parse(lines, "x")
    assert (found.run, found.began_at, found.began_s, found.late_s, found.whole) == ("run1", NOON, 5.0, 0.5, True)
    assert (found.operations, found.samples) == (tuple(operations), tuple(samples))


def test_log_of_a_killed_client_lacks_its_last_line_alone() -> None:
    line = operation_line(Operation("a", Kind.WRITE, 1.0, 2.0, Result.OK))
    found = parse([start_line("run1", NOON, 0.0), line, line[:-9]], "x")
    assert (len(found.operations), found.whole) == (1, False)


@pytest.mark.parametrize("lines", [[], ['{"t":"end"}\n'], [start_line("r", NOON, 0.0), "{}\n"], ["x\n", "y\n"]])
def test_what_is_no_log_measures_nothing(lines: list[str]) -> None:
    with pytest.raises(Unsafe) as caught:
        parse(lines, "drills/evidence/x.jsonl")
    assert caught.value.on == "drills/evidence/x.jsonl"


def test_line_in_the_middle_that_was_cut_is_no_log() -> None:
    line = operation_line(Operation("a", Kind.WRITE, 1.0, 2.0, Result.OK))
    with pytest.raises(Unsafe, match="line 2"):
        parse([start_line("run1", NOON, 0.0), line[:20] + "\n", line], "x")
