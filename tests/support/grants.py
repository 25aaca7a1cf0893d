"""Grants for tests that change something without a ledger."""

from dataclasses import dataclass
from typing import NoReturn

from tasks.common.lease import Grant, LeaseLost
from tests.support.paused import stop_here


@dataclass(frozen=True)
class _Held:
    token: int

    def require(self) -> None:
        """It is held."""


@dataclass(frozen=True)
class _Lost:
    token: int

    def require(self) -> NoReturn:
        raise LeaseLost("the lease is lost", on="a test", next_action="nothing")


@dataclass
class _Sleeper:
    token: int
    left: int

    def require(self) -> None:
        self.left -= 1
        if self.left == 0:
            stop_here()


def holding(token: int = 1) -> Grant:
    """Return the grant of a lease that is held as long as nobody with a newer token comes along."""
    return _Held(token)


DEFAULT = holding()
"""Whom helpers let change things where a test is about something else."""


def lost(token: int = 1) -> Grant:
    """Return the grant of a lease that the ledger has given to somebody else."""
    return _Lost(token)


def sleeping(token: int, question: int) -> Grant:
    """Return a grant that stops its process (SIGSTOP) when it is asked for the n-th time, and says that it is held.

    A driver asks before each of its changes, so that this is the worst moment: the lease was found to be held, and
    the change is next.
    """
    return _Sleeper(token, question)
