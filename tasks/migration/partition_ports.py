"""What the upkeep of partitions needs from the outside: a database, and the right to be the only engine at work."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tasks.migration.model import Limits
from tasks.migration.partition_model import Create, Ranged, Seen, Step


class Keeper(Protocol):
    """The one that may change partitions: it holds the mutex of migrations."""

    def carry_out(self, step: Step, limits: Limits) -> None:
        """The step is done. *Idempotent:* yes: what is as it is to be is left alone.

        Args:
            step: what is done; looked at once more before, in the same transaction where there is one.
            limits: how long it waits for locks.

        Raises:
            Contended: locks were not to be had; try again.
            MutexLost: the mutex's session has ended.
            Retryable: the server did not answer, or the default partition takes too long to be looked through.
            Refused: the database does not do it, or it is not what was planned any more; it was rolled back.
        """
        ...


class PartitionTarget(Protocol):
    """A database whose partitions are looked after. Looking changes nothing."""

    @property
    def on(self) -> str:
        """Return which one it is, for messages, without secrets."""
        ...

    def ranged(self, tables: Sequence[str]) -> Seen:
        """Return tables with their partitions, as they are now; what is wrong with one is said with it.

        Args:
            tables: as the estate file has them: 'payment' or 'billing.invoice'.

        Raises:
            Retryable: it does not answer.
            Refused: it does not let us in.
        """
        ...

    def strays(self, seen: Ranged, step: Create) -> int:
        """Return how many rows of a partition that is to be made lie in the default one; 1000 is 1000 or more.

        Raises:
            Retryable: it does not answer, or not in time.
        """
        ...

    def keeping(self, run_id: str, within_s: float) -> AbstractContextManager[Keeper]:
        """This engine alone may change the database within the block: no migration is at work meanwhile.

        Args:
            run_id: the flow run, which others are told of.
            within_s: longest wait for another one.

        Raises:
            Refused: another engine is at work; which one.
        """
        ...
