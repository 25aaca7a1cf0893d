"""The nouns of analysis: samples and verdicts."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tasks.common.model import Check, Unit


@dataclass(frozen=True)
class Sample:
    """One check with what was measured for it. A value of None is 'no data'. `at` is aware."""

    check: Check
    unit: Unit
    candidate: float | None
    stable: float | None
    at: datetime


class Decision(StrEnum):
    """What a verdict says. Only PASS lets a rollout go on."""

    PASS = "pass"
    HOLD = "hold"
    """Not enough data to say: never a pass, however long one waits."""
    ROLL_BACK = "roll-back"


@dataclass(frozen=True)
class Verdict:
    """A decision with its reasons, one sentence each, figures and bounds included."""

    decision: Decision
    reasons: tuple[str, ...]
