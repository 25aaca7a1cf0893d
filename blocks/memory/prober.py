"""A prober whose answers are told to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from blocks.context import Context
from tasks.common.model import HttpCheck, StrictModel
from tasks.common.units import show_duration
from tasks.release.answer import judge_answer
from tasks.release.ports import HttpResult


@dataclass(frozen=True)
class MemoryAnswer:
    """What comes back, and how long that takes."""

    status: int
    body: str = ""
    after_s: float = 0.0


class MemoryProber:
    """Sends nothing. Every check gets the answer that it expects, until it is told of another one."""

    class Settings(StrictModel):
        """It has none."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings
        self._redact = context.secrets.redact
        self._answers: dict[tuple[str, str, str], MemoryAnswer] = {}
        self._down: set[str] = set()

    def answer(self, base_url: str, method: str, path: str, answer: MemoryAnswer) -> None:
        """Requests of this kind get this answer from now on."""
        self._answers[base_url.rstrip("/"), method, path] = answer

    def take_down(self, base_url: str) -> None:
        """Nothing listens at the address from now on."""
        self._down.add(base_url.rstrip("/"))

    def probe(self, base_url: str, checks: Sequence[HttpCheck]) -> tuple[HttpResult, ...]:
        """Return one result a check, in order."""
        return tuple(self._result(base_url.rstrip("/"), check) for check in checks)

    def _result(self, base_url: str, check: HttpCheck) -> HttpResult:
        if base_url in self._down:
            problem = f"connection refused: nothing listens on {base_url}"
            return HttpResult(check, False, None, 0.0, self._redact(problem))
        wanted = MemoryAnswer(check.expect, check.contains or "")
        answer = self._answers.get((base_url, check.method, check.path), wanted)
        if answer.after_s > check.within_s:
            return HttpResult(check, False, None, check.within_s, f"no answer within {show_duration(check.within_s)}")
        problem = self._redact(judge_answer(check, answer.status, answer.body, self._redact))
        return HttpResult(check, not problem, answer.status, answer.after_s, problem)
