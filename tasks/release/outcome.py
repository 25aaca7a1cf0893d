"""How a run ended, decided from how it failed."""

from tasks.common.errors import Unsafe
from tasks.release.model import Outcome


def outcome_of(error: BaseException, turned_back: bool) -> Outcome:
    """Return the outcome of a run that ended with an error.

    Args:
        error: what ended it.
        turned_back: the environment that the run is for was returned to its former release.
    """
    if isinstance(error, Unsafe):
        return Outcome.UNSAFE
    return Outcome.ROLLED_BACK if turned_back else Outcome.FAILED
