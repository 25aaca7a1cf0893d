"""Figures from answers to HTTP requests."""

from blocks.asking import Asker
from blocks.context import Context
from tasks.common.errors import Refused
from tasks.common.gates import HttpQuestion
from tasks.common.model import StrictModel
from tasks.gate.answer import NoFigure, figure_in

_LARGEST_BYTES = 2**20
_SHOWN_CHARACTERS = 200


class HttpFigures:
    """Implements `AnswerSource` with GET requests. An answer of more than 1 MiB is refused. Safe between threads."""

    class Settings(StrictModel):
        """It has none."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings
        self._redact = context.secrets.redact
        self._asker = Asker(self._redact)

    def read(self, question: HttpQuestion) -> float:
        """Return the number that the pointer leads to; the status where there is no pointer. *Idempotent:* yes.

        Raises:
            Retryable: no whole answer came in time.
            Refused: another status, an answer of more than 1 MiB, or no number where the pointer leads.
        """
        answer = self._asker.get(question.url, within_s=question.within_s, at_most_bytes=_LARGEST_BYTES)
        if answer.status != question.expect:
            raise self._refused(f"it answers HTTP {answer.status}, not {question.expect}", question, answer.text)
        if not answer.whole:
            raise self._refused(f"it answers with more than {_LARGEST_BYTES >> 20} MiB", question, answer.text)
        if question.figure is None:
            return float(answer.status)
        try:
            return figure_in(answer.text, question.figure)
        except NoFigure as error:
            raise self._refused(str(error), question, answer.text) from None

    def _refused(self, what: str, question: HttpQuestion, text: str) -> Refused:
        shown = " ".join(self._redact(text).split())
        return Refused(
            self._redact(what),
            on=self._redact(question.url),
            next_action="ask the address by hand; correct url, expect or figure, or mend what it reports",
            facts={"it says": shown[:_SHOWN_CHARACTERS]} if shown else {},
        )
