"""Kills with -9 at chosen moments of the flows `backup` and `verify_backup`, and what must hold afterwards.

A moment is told by the work that was done: so many ticks after the phase has begun, and a time after the last of them.
A tick is a file below the test's folders that the flow's own thread has opened, made, renamed or removed, the begin and
the end of a program, or a call of the catalogue. Ticks and times are those of a run that nobody has disturbed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

REFUSED, UNEXPECTED = 3, 1
"""Exit codes of a run: one of our own errors has ended it, or any other."""


class Phase(StrEnum):
    """A part of a flow, from its first step to that of the next phase."""

    BACKUP = "backup"
    COPY = "copy"
    EXPIRY = "expiry"
    VERIFICATION = "verification"


class Target(StrEnum):
    """What is killed."""

    WORKER = "worker"
    """The process group of the run. The programs that it has started have groups of their own."""
    ENGINE = "engine"
    """Every program that the run has started."""
    POSTGRESQL = "postgresql"
    """The source's postmaster."""
    STORE = "store"
    """The folder of the repository is renamed, as where a disk has gone; who has a file open keeps it."""
    SCRATCH = "scratch"
    """The postmaster of the restored copy."""


TARGETS = {phase: [each for each in Target if each is not Target.SCRATCH] for phase in Phase}
TARGETS[Phase.VERIFICATION] = list(Target)


@dataclass(frozen=True)
class Tick:
    """One piece of work: what it was, and when, in seconds since the phase has begun."""

    name: str
    at_s: float


@dataclass(frozen=True)
class Moment:
    """When to strike.

    Args:
        number: of how many, from 1: '7 of 20'.
        of: how many there are.
        tick: the number of the tick, from 0.
        after_s: how long after it.
        doing: what the tick was.
    """

    number: int
    of: int
    tick: int
    after_s: float
    doing: str

    def __str__(self) -> str:
        """Return '07of20'."""
        return f"{self.number:02}of{self.of}"


def moments(ticks: Sequence[Tick], of: int, target: Target) -> tuple[Moment, ...]:
    """Return moments that lie evenly between the begin and the end of a phase, or of its programs for the engine.

    Args:
        ticks: of the undisturbed run; the first is the begin, the last the end.
        of: how many.
        target: what is to be struck.
    """
    spans = [(one, other) for one, other in pairwise(ticks)]
    if target is Target.ENGINE:
        spans = [(one, other) for one, other in spans if one.name.startswith("begin ")]
    whole_s = sum(other.at_s - one.at_s for one, other in spans)
    found = []
    for number in range(of):
        left_s = whole_s * (number + 0.5) / of
        for one, other in spans:
            if left_s <= other.at_s - one.at_s:
                found.append(Moment(number + 1, of, ticks.index(one), left_s, one.name))
                break
            left_s -= other.at_s - one.at_s
    return tuple(found)
