"""Keeps a backup from being expired while a run works with it, and expires only what nobody works with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from blocks.lease_keeper import KeptLease, await_lease, kept_lease
from tasks.common.backups import Entry
from tasks.common.lease import Lease, Leases
from tasks.common.uses import Doing, gate_of, lapsed_uses, live_uses, use_of, uses_of_plan

USES_LAST = 5
"""A use lasts so many times as long as the plan's lease: a ledger that is away for a while ends no verification."""
_PATIENCE_S = 3600.0
"""An expiry is waited for; it may have much to remove."""


def in_use_now(leases: Leases, plan: str) -> Mapping[str, Sequence[str]]:
    """Return by whom backups of the plan are used now, by their id.

    Raises:
        Retryable: the ledger does not answer.
    """
    return live_uses(leases.under(uses_of_plan(plan)))


@dataclass(frozen=True)
class BackupUses:
    """The uses of one plan's backups.

    Args:
        leases: where they are kept.
        plan: the plan's name.
        run: who is at work.
        lease_s: how long a lease of the plan lasts.
        say: shows a line to whoever follows the run.
    """

    leases: Leases
    plan: str
    run: str
    lease_s: float
    say: Callable[[str], None]

    @contextmanager
    def using(self, doing: Doing, choose: Callable[[], Entry]) -> Iterator[tuple[Entry, KeptLease]]:
        """What `choose` has returned is not expired within the block; yields it, and the use.

        Who is paused for long may lose the use: `require` it before anything is said of the backup.

        Raises:
            LeaseLost: an expiry has begun meanwhile, so that it may be gone already.
            Refused: an expiry does not end, or `choose` refuses.
            Retryable: the ledger does not answer.
        """
        lasts_s = self.lease_s * USES_LAST
        gate = await_lease(self.leases, gate_of(self.plan), self.run, self.lease_s, _PATIENCE_S, self.say)
        try:
            entry = choose()
            use = self.leases.acquire(use_of(entry.id, doing, self.run), self.run, lasts_s)
            assert isinstance(use, Lease), "nobody else takes what is this run's own"
            # Only whoever has had the gate all the time knows that no expiry has begun before the use was there.
            self.leases.renew(gate, self.lease_s)
        finally:
            self.leases.give_up(gate)
        kept = KeptLease(self.leases, use, lasts_s, self.say)
        try:
            yield entry, kept
        finally:
            kept.give_up()

    @contextmanager
    def expiring(self, within_s: float) -> Iterator[KeptLease]:
        """Within the block nobody begins to use a backup of the plan; yields the right to expire some.

        Raises:
            Refused: somebody has been choosing one for longer than `within_s`.
            Retryable: the ledger does not answer.
        """
        with kept_lease(self.leases, gate_of(self.plan), self.run, self.lease_s, within_s, self.say) as gate:
            yield gate

    def end_lapsed(self, entry_ids: Sequence[str]) -> None:
        """No use of these that has run out can be renewed any more. *Idempotent:* yes. Called while expiring.

        Raises:
            Retryable: the ledger does not answer.
        """
        uses = self.leases.under(uses_of_plan(self.plan))
        for lapsed in (each for entry_id in entry_ids for each in lapsed_uses(uses, entry_id)):
            taken = self.leases.acquire(lapsed.scope, self.run, self.lease_s)
            if isinstance(taken, Lease):
                self.leases.give_up(taken)
