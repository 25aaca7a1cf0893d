"""Leases that are forgotten when their process ends: for dry runs and tests."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock

from blocks.lease_data import GONE_AFTER_S, Standing, lost, may_take, waiting
from tasks.common.lease import Lease, Waiting


@dataclass(frozen=True)
class _Kept:
    """The newest lease of a scope; before the first one nobody's."""

    holder: str = ""
    token: int = 0
    expires_at_s: float = 0.0
    parked: bool = False
    given_up: bool = True


class MemoryLeases:
    """Implements `Leases`; each object has leases of its own. Safe to share between threads.

    Args:
        clock: returns seconds, never less than before.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._kept: dict[str, _Kept] = {}
        # When each of those who wait asked last, by scope and holder, in the order of the queue.
        self._asked_at_s: dict[str, dict[str, float]] = {}

    def acquire(self, scope: str, holder: str, ttl_s: float, *, instead_of: str = "") -> Lease | Waiting:
        """Return the lease with a new token, if it is free, expired or the holder's own; else a place in the queue.

        *Idempotent:* no: each success has a new token.
        """
        with self._lock:
            now_s = self._clock()
            standing = self._standing(scope)
            asked = self._asked_at_s.get(scope, {})
            queue = {name: at_s for name, at_s in asked.items() if now_s - at_s <= GONE_AFTER_S}
            queue[holder] = now_s
            self._asked_at_s[scope] = queue
            ahead = list(queue)[: list(queue).index(holder)]
            if not may_take(standing, holder, instead_of, len(ahead)):
                return waiting(standing, scope, ahead)
            del queue[holder]
            self._kept[scope] = _Kept(holder, standing.newest.token + 1, now_s + ttl_s, given_up=False)
            return self._standing(scope).newest

    def renew(self, lease: Lease, ttl_s: float) -> Lease:
        """The lease, which may have expired if nobody took it, is good for another ttl_s seconds, and not parked.

        *Idempotent:* yes, but for the time that it counts from.

        Raises:
            LeaseLost: the scope has a newer token, or was given up.
        """
        return self._keep(lease, ttl_s, parked=False)

    def park(self, lease: Lease, for_s: float) -> Lease:
        """The lease is kept for its suspended holder for so long, without renewals. *Idempotent:* as renew.

        Raises:
            LeaseLost: the scope has a newer token, or was given up.
        """
        return self._keep(lease, for_s, parked=True)

    def give_up(self, lease: Lease) -> None:
        """The lease is free, if it was still this one. *Idempotent:* yes."""
        with self._lock:
            if self._standing(lease.scope).is_of(lease):
                self._kept[lease.scope] = replace(self._kept[lease.scope], given_up=True)

    def leave(self, scope: str, holder: str) -> None:
        """The holder does not wait for the scope any more. *Idempotent:* yes."""
        with self._lock:
            self._asked_at_s.get(scope, {}).pop(holder, None)

    def find(self, scope: str) -> Lease | None:
        """Return the newest lease of a scope, expired ones included; None where there was none, or it was given up."""
        with self._lock:
            return self._standing(scope).kept

    def under(self, prefix: str) -> tuple[Lease, ...]:
        """Return what `find` does for each scope that begins so, in the order of the scopes."""
        with self._lock:
            scopes = sorted(scope for scope in self._kept if scope.startswith(prefix))
            return tuple(kept for scope in scopes if (kept := self._standing(scope).kept) is not None)

    def _keep(self, lease: Lease, for_s: float, *, parked: bool) -> Lease:
        with self._lock:
            standing = self._standing(lease.scope)
            if not standing.is_of(lease):
                raise lost(lease, standing)
            expires_at_s = self._clock() + for_s
            self._kept[lease.scope] = replace(self._kept[lease.scope], expires_at_s=expires_at_s, parked=parked)
            return self._standing(lease.scope).newest

    def _standing(self, scope: str) -> Standing:
        kept = self._kept.get(scope, _Kept())
        left_s = kept.expires_at_s - self._clock()
        return Standing(Lease(scope, kept.holder, kept.token, left_s, kept.parked), kept.given_up)
