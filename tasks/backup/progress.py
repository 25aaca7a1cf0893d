"""How far a backup has come, for people. Pure."""

from tasks.common.backups import Progress
from tasks.common.units import show_duration, show_size


def percent(progress: Progress) -> float:
    """Return how much is done, 0 to 100; 0 while the total is not known."""
    if progress.total_bytes <= 0:
        return 0.0
    return min(100.0, 100.0 * progress.done_bytes / progress.total_bytes)


def described(progress: Progress, elapsed_s: float) -> str:
    """Return '1.5 GiB of 6 GiB, 50 MiB/s, 1 min 30 s left'; without what is not known.

    Args:
        progress: how far it has come.
        elapsed_s: since the beginning.
    """
    done, total = progress.done_bytes, progress.total_bytes
    parts = [f"{show_size(done)} of {show_size(total)}" if total else show_size(done)]
    rate = done / elapsed_s if elapsed_s > 0 else 0.0
    if rate > 0:
        parts.append(f"{show_size(rate)}/s")
        if total > done:
            parts.append(f"{show_duration((total - done) / rate)} left")
    return ", ".join(parts)
