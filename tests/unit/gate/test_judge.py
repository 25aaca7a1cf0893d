"""Which readings open a gate: only a good figure, read now."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.gates import Gate
from tasks.gate.judge import closed_facts, judge, verdict_table
from tasks.gate.model import Reading, Verdict

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COST = Gate.model_validate({"name": "cost", "promql": "cost", "unit": "count", "at_most": 0.05})
BACKUP = Gate.model_validate({"name": "backup", "sql": "select 1", "unit": "seconds", "at_most": "6h"})
TRIED = Gate.model_validate({"name": "drill", "sql": "select 1", "unit": "count", "at_least": 1})
ALIVE = Gate.model_validate({"name": "alive", "http": {"url": "http://x"}})
TESTS = Gate(name="tests", recorded="tests")


def reading(figure: float | None, problem: str = "", age_s: float = 0.0) -> Reading:
    return Reading(figure, problem, "somewhere", NOW - timedelta(seconds=age_s))


@pytest.mark.parametrize(
    ("gate", "figure"),
    [(COST, 0.05), (COST, 0.0), (BACKUP, 21600.0), (TRIED, 1.0), (TRIED, 7.0), (ALIVE, 200.0), (TESTS, 3.0)],
)
def test_good_figure_that_was_read_now_opens(gate: Gate, figure: float) -> None:
    verdict = judge(gate, reading(figure), NOW)
    assert (verdict.open, verdict.figure, verdict.mend) == (True, figure, "")


@pytest.mark.parametrize("gate", [COST, BACKUP, TRIED, ALIVE, TESTS])
@pytest.mark.parametrize(
    ("given", "why"),
    [
        (reading(None), "there is no figure"),
        (reading(math.nan), "the figure is nan"),
        (reading(math.inf), "the figure is inf"),
        (reading(-math.inf), "the figure is -inf"),
        (reading(None, "Prometheus does not answer"), "Prometheus does not answer"),
        (reading(1.0, "2 series"), "2 series"),
        (reading(1.0, age_s=61), "which is not now"),
        (reading(1.0, age_s=86400), "which is not now"),
        (reading(1.0, age_s=-60), "which is not now"),
    ],
)
def test_no_figure_no_number_an_old_one_and_a_problem_keep_every_gate_closed(
    gate: Gate, given: Reading, why: str
) -> None:
    verdict = judge(gate, given, NOW)
    assert not verdict.open
    assert why in verdict.why
    assert verdict.mend
    assert verdict.figure is None or math.isfinite(verdict.figure)


@pytest.mark.parametrize(
    ("gate", "figure", "why"),
    [
        (COST, 0.0500001, "0.0500001 is not at most 0.05"),
        (BACKUP, 21601.0, "21601 s is not at most 21600 s"),
        (TRIED, 0.0, "0 is not at least 1"),
        (TRIED, -1.0, "-1 is not at least 1"),
    ],
)
def test_figure_beyond_the_bound_closes_and_says_both(gate: Gate, figure: float, why: str) -> None:
    verdict = judge(gate, reading(figure), NOW)
    assert (verdict.open, verdict.why, verdict.figure) == (False, why, figure)


def test_table_shows_closed_gates_first_and_cannot_be_broken_by_its_texts() -> None:
    verdicts = [judge(TRIED, reading(3.0), NOW), judge(COST, reading(None, "a | b\n<script>"), NOW)]
    lines = verdict_table(verdicts).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| cost | **closed** |")
    assert "a \\| b &lt;script&gt;" in lines[2]
    assert lines[3].startswith("| drill | open | 3 | at least 1 |")


def test_operator_is_told_of_every_closed_gate_its_figure_bound_source_and_what_to_do() -> None:
    verdicts = [judge(TRIED, reading(0.0), NOW), judge(COST, reading(0.0), NOW), judge(BACKUP, reading(None), NOW)]
    facts = closed_facts(verdicts)
    assert list(facts) == ["drill", "backup"]
    for part in ("0 is not at least 1", "bound: at least 1", "source: somewhere", "do: "):
        assert part in facts["drill"]


def test_verdict_without_a_problem_says_what_was_wanted() -> None:
    assert judge(BACKUP, reading(60.0), NOW) == Verdict(
        "backup", True, 60.0, "at most 21600 s", "somewhere", "60 s, at most 21600 s wanted"
    )
