"""What every store of leases decides alike: who may take one, and what is told to whoever lost it."""

from dataclasses import dataclass

from tasks.common.lease import Lease, LeaseLost, Waiting

GONE_AFTER_S = 30.0
"""A waiter that has not asked for so long has left the queue."""


@dataclass(frozen=True)
class Standing:
    """How a scope stands.

    Args:
        newest: the newest lease that there was, given up or not; before the first one a lease of nobody, token 0.
        given_up: nobody has it any more.
    """

    newest: Lease
    given_up: bool

    @property
    def kept(self) -> Lease | None:
        """Return the lease that somebody has, or had until it expired."""
        return None if self.given_up else self.newest

    def is_of(self, lease: Lease) -> bool:
        """Return whether the lease is the newest and was not given up."""
        return not self.given_up and (self.newest.holder, self.newest.token) == (lease.holder, lease.token)


def may_take(standing: Standing, holder: str, instead_of: str, ahead: int) -> bool:
    """Return whether a holder gets the lease now.

    Args:
        standing: how the scope stands.
        holder: who asks.
        instead_of: whose parked lease it may take.
        ahead: how many wait who came before.
    """
    kept = standing.kept
    if kept is not None:
        if kept.holder == holder or (kept.parked and kept.holder == instead_of):
            return True
        if kept.live:
            return False
    return ahead == 0


def waiting(standing: Standing, scope: str, ahead: list[str]) -> Waiting:
    """Return the place in the queue of one who may not take the lease: after those ahead, in their order."""
    kept = standing.kept
    if kept is not None and kept.live:
        return Waiting(scope, kept.holder, kept.left_s, len(ahead))
    return Waiting(scope, ahead[0], 0.0, len(ahead))


def lost(lease: Lease, standing: Standing) -> LeaseLost:
    """Return the error for whoever holds a lease that is not the newest any more."""
    newest = standing.newest
    state = "what was done before stands; from here on this process changes nothing"
    next_action = "let that run end ('slipway releases list' shows who), then start this one again if still wanted"
    if newest.token < lease.token:
        what = "the ledger knows of no such lease"
        next_action = "find out whether the ledger was restored from a backup; 'slipway releases list' shows who works"
    elif newest.token == lease.token:
        what = "the lease was given up"
        next_action = "'slipway releases list' shows who works now; start this run again if it is still wanted"
    elif newest.holder == lease.holder:
        what = "another process of the same run has taken the lease over"
        next_action = "follow the run where it goes on ('slipway releases list' shows who), and end this process"
    else:
        what = f"the lease was lost to {newest.holder}"
    return LeaseLost(
        what,
        on=lease.scope,
        state=state,
        next_action=next_action,
        facts={"this run": lease.holder, "its token": lease.token, "newest token": newest.token},
    )
