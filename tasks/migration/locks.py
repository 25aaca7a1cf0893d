"""How long a statement waits for its lock, and how often it is tried again. Pure.

A statement that waits for a lock has everybody behind it wait as well. So it waits shortly, gives up, lets the others
through, and tries again. A concurrent build is the exception: it waits for unrelated transactions by design, holds up
nobody, and would leave an INVALID index behind if it were to give up.
"""

from tasks.migration.model import Backfill, BuildIndex, DropIndex, Limits, Step, ValidateConstraint

AGAIN = frozenset({"55P03", "40P01", "40001"})
"""SQLSTATEs after which the same statement may succeed: lock not available, deadlock, serialization failure."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 20.0
"""Pauses double from the first to the longest."""
JITTER = 0.5
"""Each pause is this share shorter at most, at random: two engines, or an engine and a cron job, fall out of step."""


def lock_timeout_ms(step: Step, limits: Limits) -> int:
    """Return how long a step may wait for a lock; 0 for as long as it takes."""
    match step:
        case BuildIndex() | DropIndex():
            return 0
        case _:
            return limits.lock_timeout_ms


def statement_timeout_ms(step: Step, left_s: float) -> int:
    """Return how long a statement of a step may take.

    Args:
        step: which one.
        left_s: what is left of the limit of its phase; at least a second is given.
    """
    match step:
        case BuildIndex() | DropIndex() | ValidateConstraint() | Backfill():
            # They block nobody while they work: the limit of the phase is enough.
            return max(1000, round(left_s * 1000))
        case _:
            return max(1000, min(round(left_s * 1000), 300_000))


def pause_s(tries: int, chance: float) -> float:
    """Return how long to wait before a statement is tried once more.

    Args:
        tries: that have failed, at least 1.
        chance: a random number from 0 to 1.
    """
    whole = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(tries - 1, 20))
    return whole * (1 - JITTER * chance)
