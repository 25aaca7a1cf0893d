"""A lease: for a time one run alone may change one service in one environment (REL-4).

A lease is not enough by itself: its holder may be paused, and wake up when somebody else has it. So each acquisition
has a token that only ever rises, and what is changed refuses every token older than the newest it has seen (fencing).

*Source:* the fencing token of M. Kleppmann, "How to do distributed locking" (2016); leases of Gray and Cheriton (1989).
"""

from dataclasses import dataclass
from typing import Protocol

from tasks.common.errors import Refused


def scope_of(service: str, environment: str) -> str:
    """Return what the lease of a service in an environment is called."""
    return f"{service}/{environment}"


@dataclass(frozen=True)
class Lease:
    """Who may change what, until when.

    Args:
        scope: what it is for, 'SERVICE/ENVIRONMENT'.
        holder: id of the run that has it.
        token: rises with every acquisition of the scope, also by the same holder.
        left_s: seconds until it expires, by the ledger's own clock when it was asked; 0 or less: expired.
        parked: its holder is suspended and renews nothing; it is kept for it until it expires.
    """

    scope: str
    holder: str
    token: int
    left_s: float
    parked: bool = False

    @property
    def live(self) -> bool:
        """Return whether it has not expired."""
        return self.left_s > 0


@dataclass(frozen=True)
class Waiting:
    """No lease yet.

    Args:
        scope: what is waited for.
        held_by: who has it; where it is free and others came before, the first of those.
        left_s: seconds until it expires if it is not renewed; 0 where it is free.
        ahead: how many wait who came before.
    """

    scope: str
    held_by: str
    left_s: float
    ahead: int


class LeaseLost(Refused):
    """Somebody else has the lease, or may have it: whoever lost it changes nothing any more."""

    meaning = "Refused (lease lost)"


class Leases(Protocol):
    """Leases of one ledger. Time is the ledger's: no clock of a worker is asked."""

    def acquire(self, scope: str, holder: str, ttl_s: float, *, instead_of: str = "") -> Lease | Waiting:
        """Return the lease with a new token, if it is free, expired or the holder's own; else a place in the queue.

        Who waits asks again every few seconds; who has not asked for 30 s has left the queue. First come, first served.
        *Idempotent:* no: each success has a new token, and the one before it is worth nothing any more.

        Args:
            scope: what is wanted.
            holder: id of the run.
            ttl_s: expires after so many seconds without a renewal.
            instead_of: a parked lease of this holder is taken at once, before anybody who waits.

        Raises:
            Retryable: the ledger does not answer; it is not known who has the lease.
        """
        ...

    def renew(self, lease: Lease, ttl_s: float) -> Lease:
        """The lease, which may have expired if nobody took it, is good for another ttl_s seconds, and not parked.

        Raises:
            LeaseLost: the scope has a newer token, or was given up.
            Retryable: the ledger does not answer.
        """
        ...

    def park(self, lease: Lease, for_s: float) -> Lease:
        """The lease is kept for its suspended holder for so long, without renewals.

        Raises:
            LeaseLost: the scope has a newer token, or was given up.
            Retryable: the ledger does not answer.
        """
        ...

    def give_up(self, lease: Lease) -> None:
        """The lease is free, if it was still this one. *Idempotent:* yes.

        Raises:
            Retryable: the ledger does not answer; it expires by itself.
        """
        ...

    def leave(self, scope: str, holder: str) -> None:
        """The holder does not wait for the scope any more. *Idempotent:* yes."""
        ...

    def find(self, scope: str) -> Lease | None:
        """Return the newest lease of a scope, expired ones included; None where there was none, or it was given up."""
        ...

    def under(self, prefix: str) -> tuple[Lease, ...]:
        """Return what `find` does for each scope that begins so, in the order of the scopes.

        Raises:
            Retryable: the ledger does not answer.
        """
        ...


class Grant(Protocol):
    """What a driver that changes something is given: the right to do so, for as long as it lasts."""

    @property
    def token(self) -> int:
        """Return the token of the lease."""
        ...

    def require(self) -> None:
        """The lease is held, as far as is known; an expired one was renewed.

        A ledger that does not answer is no reason to refuse: what is changed knows the newest token itself, and a
        roll-back must not fail because the ledger is away.

        Raises:
            LeaseLost: somebody else has it.
        """
        ...
