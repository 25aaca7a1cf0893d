"""What gates need from the outside: figures, and what was recorded."""

from collections.abc import Mapping
from typing import Protocol

from tasks.common.gates import HttpQuestion


class QuerySource(Protocol):
    """Answers PromQL; every source of metrics does."""

    def query(self, expression: str) -> float | None:
        """Return the value of an instant query now; None where there is no data (empty, NaN, infinite).

        Raises:
            Retryable: the source does not answer.
            Refused: the expression is wrong, or returns more than one series.
        """
        ...


class RecordSource(Protocol):
    """Answers SQL over the ledger; every ledger does."""

    def figure(self, sql: str, parameters: Mapping[str, str]) -> float | None:
        """Return the number that one SELECT returns; None where there is none. Nothing can be changed by it.

        Raises:
            Retryable: the ledger does not answer, or not in time.
            Refused: it is no single SELECT, would change something, or does not return one number.
        """
        ...


class AnswerSource(Protocol):
    """Reads figures from answers to HTTP requests."""

    def read(self, question: HttpQuestion) -> float:
        """Return the number that the pointer leads to; the status where there is no pointer.

        Raises:
            Retryable: no whole answer came in time.
            Refused: another status, or no number where the pointer leads.
        """
        ...


class Recorded(Protocol):
    """One piece of evidence of this run."""

    @property
    def kind(self) -> str:
        """Return what it is: 'test', 'scan' ..."""
        ...

    @property
    def name(self) -> str:
        """Return what it is about: the command, the tool, the place."""
        ...

    @property
    def facts(self) -> Mapping[str, object]:
        """Return its facts; 'error' among them where the step failed."""
        ...
