"""What every source of metrics does."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.metrics import MemoryMetrics
from blocks.metrics.prometheus import PrometheusMetrics
from tasks.analysis.ports import MetricSource
from tasks.common.errors import Refused, Retryable
from tests.support.processes import free_port
from tests.support.prometheus import prometheus


@dataclass(frozen=True)
class Bench:
    """A source, an expression that returns given series from it, and a source of the kind that does not answer."""

    source: MetricSource
    expression: Callable[..., str]
    silent: MetricSource


def open_prometheus(url: str) -> PrometheusMetrics:
    settings = PrometheusMetrics.Settings.model_validate({"url": url, "timeout": "5s"})
    return PrometheusMetrics(settings, Context(base=Path()))


def promql(*series: float) -> str:
    """Return PromQL for the series, whose labels differ."""
    names = {math.inf: "Inf", -math.inf: "-Inf"}
    parts = [
        f'label_replace(vector({"NaN" if math.isnan(value) else names.get(value, value)}), "n", "{n}", "", "")'
        for n, value in enumerate(series)
    ]
    return " or ".join(parts) or "vector(1) > 2"


@pytest.fixture(scope="module")
def prometheus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        yield url


@pytest.fixture(params=["memory", pytest.param("prometheus", marks=pytest.mark.server)])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "prometheus":
        silent = open_prometheus(f"http://127.0.0.1:{free_port()}")
        return Bench(open_prometheus(request.getfixturevalue("prometheus_url")), promql, silent)
    memory, silent_memory = (MemoryMetrics(MemoryMetrics.Settings(), Context(base=Path())) for _ in range(2))
    silent_memory.answers = False

    def expression(*series: float) -> str:
        memory.set("figure", *series)
        return "figure"

    return Bench(memory, expression, silent_memory)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 1e-9, 1e300])
def test_one_series_is_its_value(bench: Bench, value: float) -> None:
    assert bench.source.query(bench.expression(value)) == value


@pytest.mark.parametrize("series", [(), (math.nan,), (math.inf,), (-math.inf,)])
def test_nothing_nan_and_infinite_are_no_data(bench: Bench, series: tuple[float, ...]) -> None:
    assert bench.source.query(bench.expression(*series)) is None


@pytest.mark.parametrize("series", [(1.0, 2.0), (1.0, 1.0, 1.0), (1.0, math.nan)])
def test_several_series_are_refused_with_the_expression_and_their_count(
    bench: Bench, series: tuple[float, ...]
) -> None:
    expression = bench.expression(*series)
    with pytest.raises(Refused, match=f"returns {len(series)} series") as caught:
        bench.source.query(expression)
    assert caught.value.facts["expression"] == expression
    assert caught.value.facts["series"] == len(series)


def test_source_that_answers_passes_its_check(bench: Bench) -> None:
    bench.source.check()


def test_source_that_does_not_answer_may_be_retried_and_is_never_taken_for_no_data(bench: Bench) -> None:
    with pytest.raises(Retryable):
        bench.silent.check()
    with pytest.raises(Retryable):
        bench.silent.query(bench.expression(1.0))
