"""Challenges: verifications that are shown to fail on damage that was made on purpose (negative controls)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class TrialOutcome(StrEnum):
    """What became of one damage."""

    FOUND = "found"
    NOT_FOUND = "NOT FOUND"
    LEFT_OUT = "left out"
    """It cannot be made here. Never counts as found."""
    UNDECIDED = "no verdict"
    """The verification did not come to its end, or the damage could not be made as it should be."""


class Verdict(StrEnum):
    """What a challenge says of a verification."""

    PROVEN = "every damage was found"
    NOT_FOUND = "NOT FOUND"
    NO_VERDICT = "no verdict"


@dataclass(frozen=True)
class Control:
    """A copy on which nothing was damaged.

    Args:
        name: of what: 'the undamaged copy'.
        sound: whether the verification has held on it.
        said: what has come out.
        took_s: how long it took.
    """

    name: str
    sound: bool
    said: str
    took_s: float


@dataclass(frozen=True)
class Trial:
    """One damage, and what the verification has made of it.

    Args:
        fault: 'flipped byte'.
        outcome: what became of it.
        done: what exactly was done; '' where it was left out.
        expected: the rung that should find it.
        found_by: the first rung that was broken; '' for none.
        said: what that rung has said, or why there is no outcome.
        took_s: how long it took to make it and to climb the ladder.
    """

    fault: str
    outcome: TrialOutcome
    done: str
    expected: str
    found_by: str
    said: str
    took_s: float

    @property
    def late(self) -> bool:
        """Return whether another rung has found it than the one that should."""
        return self.outcome is TrialOutcome.FOUND and self.found_by != self.expected


@dataclass(frozen=True)
class Challenge:
    """All trials of one run.

    Args:
        plan: whose verification.
        run_id: the flow run.
        backup_id: the backup whose copy was damaged; it is as it was.
        began_at: when it began.
        ended_at: when it ended.
        controls: undamaged ones.
        trials: in the order in which they were made.
    """

    plan: str
    run_id: str
    backup_id: str
    began_at: datetime
    ended_at: datetime
    controls: Sequence[Control]
    trials: Sequence[Trial]

    @property
    def verdict(self) -> Verdict:
        """Return what all of them say. Without a sound control nothing is proven, whatever was found."""
        if not self.controls or not all(each.sound for each in self.controls):
            return Verdict.NO_VERDICT
        outcomes = {each.outcome for each in self.trials}
        if TrialOutcome.NOT_FOUND in outcomes:
            return Verdict.NOT_FOUND
        if TrialOutcome.UNDECIDED in outcomes or TrialOutcome.FOUND not in outcomes:
            return Verdict.NO_VERDICT
        return Verdict.PROVEN
