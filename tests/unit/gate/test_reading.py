"""Reading a gate's figure: what goes wrong is a reading too."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from blocks.context import Context
from blocks.memory.figures import MemoryFigures
from blocks.memory.ledger import MemoryLedger
from blocks.memory.metrics import MemoryMetrics
from tasks.common.gates import Gate
from tasks.gate.model import Names
from tasks.gate.reading import Sources, read

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = Names("campus", "production", "v2", "green", 300.0, "a" * 40)


@pytest.fixture
def sources() -> Sources:
    context = Context(base=Path())
    return Sources(
        MemoryMetrics(MemoryMetrics.Settings(), context),
        MemoryLedger(MemoryLedger.Settings(), context),
        MemoryFigures(MemoryFigures.Settings(), context),
    )


def gate(**source: Any) -> Gate:
    return Gate.model_validate({"name": "x", "unit": "count", "at_most": 1, **source})


def test_names_are_filled_into_promql(sources: Sources) -> None:
    assert isinstance(sources.metrics, MemoryMetrics)
    query = 'x{s="$service",e="$environment",r="$release",g="$slot",c="$commit"}[$window]'
    sources.metrics.set(f'x{{s="campus",e="production",r="v2",g="green",c="{"a" * 40}"}}[300s]', 7.0)
    assert read(gate(promql=query), sources, NAMES, NOW).figure == 7.0


def test_each_source_is_asked_for_its_gates(sources: Sources) -> None:
    assert isinstance(sources.metrics, MemoryMetrics)
    assert isinstance(sources.ledger, MemoryLedger)
    assert isinstance(sources.http, MemoryFigures)
    sources.metrics.set("up", 1.0)
    sources.ledger.answer("select 2", 2.0)
    sources.http.answer("http://x", 200, '{"n": 3}')
    asked = [gate(promql="up"), gate(sql="select 2"), gate(http={"url": "http://x", "figure": "/n"})]
    readings = [read(each, sources, NAMES, NOW) for each in asked]
    assert [(each.figure, each.problem, each.at) for each in readings] == [
        (1.0, "", NOW),
        (2.0, "", NOW),
        (3.0, "", NOW),
    ]


def test_source_that_does_not_answer_refuses_or_cannot_be_asked_is_a_problem_with_its_remedy(sources: Sources) -> None:
    assert isinstance(sources.metrics, MemoryMetrics)
    sources.metrics.set("two", 1.0, 2.0)
    asked = [
        (gate(promql="two"), "returns 2 series"),
        (gate(sql="select nothing"), "cannot read SQL"),
        (gate(http={"url": "http://gone", "figure": "/n"}), "no answer"),
    ]
    for each, problem in asked:
        found = read(each, sources, NAMES, NOW)
        assert (found.figure, bool(found.mend)) == (None, True)
        assert problem in found.problem
    quoted = Names("campus", "production", 'v"2', "green", 300.0, "")
    assert "cannot be filled" in read(gate(promql="up{r='$release'}"), sources, quoted, NOW).problem
    sources.metrics.answers = False
    assert "do not answer" in read(gate(promql="up"), sources, NAMES, NOW).problem


def test_source_without_data_is_a_reading_without_a_figure(sources: Sources) -> None:
    assert read(gate(promql="nobody_set_this"), sources, NAMES, NOW).figure is None
