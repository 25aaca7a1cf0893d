"""Answers to HTTP requests that a test or a dry run has set."""

from blocks.context import Context
from tasks.common.errors import Refused, Retryable
from tasks.common.gates import HttpQuestion
from tasks.common.model import StrictModel
from tasks.gate.answer import NoFigure, figure_in


class MemoryFigures:
    """Implements `AnswerSource` with what `answer` was given; at an address that nobody has set, nothing listens."""

    class Settings(StrictModel):
        """There is nothing to set here; see `MemoryFigures.answer`."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings
        self._redact = context.secrets.redact
        self._answers: dict[str, tuple[int, str]] = {}

    def answer(self, url: str, status: int, body: str = "") -> None:
        """Requests to the address get this answer from now on. *Idempotent:* yes."""
        self._answers[url] = (status, body)

    def read(self, question: HttpQuestion) -> float:
        """Return the number that the pointer leads to; the status where there is no pointer. *Idempotent:* yes.

        Raises:
            Retryable: nothing listens at the address.
            Refused: another status, or no number where the pointer leads.
        """
        if question.url not in self._answers:
            raise Retryable("no answer", on=self._redact(question.url), next_action="set it with 'answer'")
        status, text = self._answers[question.url]
        if status != question.expect:
            raise self._refused(f"it answers HTTP {status}, not {question.expect}", question)
        try:
            return float(status) if question.figure is None else figure_in(text, question.figure)
        except NoFigure as error:
            raise self._refused(str(error), question) from None

    def _refused(self, what: str, question: HttpQuestion) -> Refused:
        return Refused(what, on=self._redact(question.url), next_action="set another answer with 'answer'")
