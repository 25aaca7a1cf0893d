"""How large the next batch of a backfill is: GitLab's optimizer, weighted by the rows that a batch has changed. Pure.

*Source:* GitLab, `lib/gitlab/database/background_migration/batch_optimizer.rb` and `batched_migration.rb`
(`smoothed_time_efficiency`). Its comment speaks of -20 %; its code shrinks without a bound, and so does this.
"""

from collections.abc import Sequence
from dataclasses import dataclass

TARGET_EFFICIENCY = (0.90, 0.95)
"""Share of its interval that a batch is to take: within these nothing changes."""
LEAST, MOST = 1_000, 2_000_000
"""Rows of the smallest and of the largest batch."""
MAX_MULTIPLIER = 1.2
"""A batch grows by this at most."""
NEWEST = 20
"""So many batches are looked at; until there are as many, nothing changes."""
ALPHA = 0.4
"""Weight of the newest batch; each older one weighs 0.6 of the one after it."""


@dataclass(frozen=True)
class Sample:
    """A batch that was committed.

    Args:
        seconds: that it took.
        over: rows that it has gone over.
        changed: rows that it has changed.
    """

    seconds: float
    over: int
    changed: int


def smoothed_efficiency(newest_first: Sequence[Sample], interval_s: float) -> float | None:
    """Return the share of the interval that batches take, rounded to 2 decimals; None until there are enough.

    A batch weighs as much as the share of its rows that it has changed: those that find little to do are quick, and say
    nothing about those that will. Sizes would explode (GitLab #351786).

    Args:
        newest_first: at least `NEWEST` of them, or there is no answer.
        interval_s: time that a batch is sized for, above 0.
    """
    if len(newest_first) < NEWEST:
        return None
    weights = [(1 - ALPHA) ** age * _share(each) for age, each in enumerate(newest_first[:NEWEST])]
    whole = sum(weights)
    if whole == 0:
        return None
    taken = sum(weight * each.seconds / interval_s for weight, each in zip(weights, newest_first, strict=False))
    return round(taken / whole, 2)


def next_size(size: int, newest_first: Sequence[Sample], interval_s: float, most: int = MOST) -> int:
    """Return the rows of the next batch.

    Args:
        size: of the last one.
        newest_first: the batches so far.
        interval_s: time that a batch is sized for.
        most: rows of the largest batch; one below the smallest lowers that, too.
    """
    efficiency = smoothed_efficiency(newest_first, interval_s)
    low, high = TARGET_EFFICIENCY
    if not efficiency or low <= efficiency <= high:
        return size
    wanted = int(size * min(high / efficiency, MAX_MULTIPLIER))
    # Who began below the smallest size grows from there, and does not jump.
    return min(max(wanted, min(LEAST, most, size)), most)


def after_timeout(size: int) -> int:
    """Return the rows of a batch after one that did not end in its time: a quarter less, and one at least.

    *Source:* GitLab, `batched_job.rb`: a timeout takes 25 % off.
    """
    return max(1, size * 3 // 4)


def _share(sample: Sample) -> float:
    return min(1.0, sample.changed / sample.over) if sample.over else 0.0
