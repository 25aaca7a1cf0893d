"""Figures that a test or a dry run has set."""

import math

from blocks.context import Context
from tasks.common.errors import Refused, Retryable
from tasks.common.model import StrictModel

_ON = "the metrics in memory"


class MemoryMetrics:
    """Implements `MetricSource` with what `set` was given; an expression that nobody has set has no data.

    Attributes:
        answers: false makes it a source that does not answer.
    """

    class Settings(StrictModel):
        """There is nothing to set here; see `MemoryMetrics.set`."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings, context
        self._series: dict[str, tuple[float, ...]] = {}
        self.answers = True

    def set(self, expression: str, *series: float) -> None:
        """Queries that are, or start with, the expression return these series from now on.

        Of several expressions that a query starts with, the longest counts. One series is a value; none, NaN and
        infinite are 'no data'; several are refused, as any source refuses them. *Idempotent:* yes; what was set before
        is replaced.
        """
        self._series[expression] = series

    def query(self, expression: str) -> float | None:
        """Return the value that was set; None where there is no data (none set, NaN, infinite).

        Raises:
            Retryable: it was told not to answer.
            Refused: several series were set.
        """
        self.check()
        matching = [known for known in self._series if expression.startswith(known)]
        series = self._series[max(matching, key=len)] if matching else ()
        if len(series) > 1:
            raise Refused(
                f"the expression returns {len(series)} series; it must return one number",
                on=_ON,
                next_action="aggregate it, e.g. with sum(...), or select one series by its labels",
                facts={"expression": expression, "series": len(series)},
            )
        return float(series[0]) if series and math.isfinite(series[0]) else None

    def check(self) -> None:
        """The source answers.

        Raises:
            Retryable: it was told not to.
        """
        if not self.answers:
            raise Retryable("the metrics do not answer", on=_ON, next_action="set 'answers' to true")
