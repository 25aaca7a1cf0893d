"""Whether a process that has everything imported already may run a flow: decisions, and nothing that acts."""

from collections.abc import Mapping

_MAY_DIFFER = ("PREFECT__", "SLIPWAY_")
"""How names begin that belong to one run, and that Prefect and Slipway look up when they need them."""
_SHELLS = {"PWD", "OLDPWD", "SHLVL", "_"}
"""What a shell that is passed through tells the next program about itself."""
_SHOWN = 5


def why_cold(imported_with: Mapping[str, str], wanted: Mapping[str, str]) -> str | None:
    """Return why a run with the wanted environment needs a process of its own; None where it does not.

    The interpreter, its libraries and Prefect's settings look at the environment when they start. Which names they look
    at nobody knows for certain: so every difference counts, but for names that are known to be looked up later.

    Args:
        imported_with: the environment in which everything was imported.
        wanted: the run's.
    """
    names = {name for name in imported_with.keys() | wanted.keys() if not name.startswith(_MAY_DIFFER)} - _SHELLS
    differ = sorted(name for name in names if imported_with.get(name) != wanted.get(name))
    if not differ:
        return None
    more = f" and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else ""
    # Names alone: the values may be secrets.
    return f"its environment differs from the worker's in {', '.join(differ[:_SHOWN])}{more}"


def why_not_alone(threads: int) -> str | None:
    """Return why a process with so many threads must not fork; None where it may.

    What another thread holds in that moment, such as a lock, stays held in the new process, where it does not exist.
    """
    return None if threads == 1 else f"something that was imported has started {threads - 1} threads"


def restart_after_s(lived_s: float, last_s: float) -> float:
    """Return how long to wait before a fork server is started again: longer each time for one that dies at once.

    Args:
        lived_s: how long it lived.
        last_s: what was waited the last time; 0 at first.
    """
    return 0.0 if lived_s >= 60.0 else min(60.0, max(1.0, 2 * last_s))
