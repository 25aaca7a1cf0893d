"""How a run ended, decided from how it failed."""

from tasks.common.errors import Unsafe
from tasks.release.model import Outcome


def outcome_of(error: BaseException, *, moved: bool, turned_back: bool) -> Outcome:
    """Return the outcome of a run that ended with an error.

    Args:
        error: what ended it.
        moved: it gave its release traffic in the environment that it is for.
        turned_back: the environment that the run is for was returned to its former release.
    """
    if isinstance(error, Unsafe):
        return Outcome.UNSAFE
    if turned_back:
        return Outcome.ROLLED_BACK
    # Traffic was moved, and it is not known to have gone back: not something to call unchanged.
    return Outcome.UNSAFE if moved else Outcome.FAILED
