"""Whether the worker's clock and a source's go alike. Pure."""

from datetime import datetime

from tasks.common.units import show_duration

APART_S = 60.0
"""Clocks that are further apart make ages wrong: machines that ask a time server are apart by milliseconds."""


def ahead_s(before: datetime, source_at: datetime, after: datetime) -> float:
    """Return by how much the worker's clock is ahead of a source's; below 0 where it is behind, 0 where they agree.

    Args:
        before: the worker's time when it asked.
        source_at: the source's answer.
        after: the worker's time when the answer was there.
    """
    if source_at < before:
        return (before - source_at).total_seconds()
    return -max((source_at - after).total_seconds(), 0.0)


def apart(worker_ahead_s: float) -> str:
    """Return 'the worker's clock is 5 h ahead of the source's'; '' where they go alike."""
    if abs(worker_ahead_s) <= APART_S:
        return ""
    return f"the worker's clock is {show_duration(abs(worker_ahead_s))} {_way(worker_ahead_s)} the source's"


def _way(worker_ahead_s: float) -> str:
    return "ahead of" if worker_ahead_s > 0 else "behind"
