"""What analysis needs from the outside: figures."""

from typing import Protocol


class MetricSource(Protocol):
    """Answers queries with one number."""

    def query(self, expression: str) -> float | None:
        """Return the value of an instant query now; None where there is no data (empty, NaN, infinite).

        Raises:
            Retryable: the source does not answer.
            Refused: the expression is wrong, or returns more than one series.
        """
        ...

    def check(self) -> None:
        """The source answers.

        Raises:
            Retryable: it does not.
        """
        ...
