"""What a migration needs from the outside: a database, and the right to be the only engine at work on it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from tasks.common.errors import Retryable
from tasks.common.migrations import Phase
from tasks.migration.batching import Sample
from tasks.migration.catalogue import Observed
from tasks.migration.health import Measures
from tasks.migration.model import Backfill, Compiled, Limits, Step, Table


class Contended(Retryable):
    """A lock was not to be had in time, or the statement was chosen to end a deadlock; it was rolled back whole."""


class TooSlow(Retryable):
    """A batch was not done in the time that it may hold its locks; it was rolled back whole."""


class MutexLost(Retryable):
    """This engine no longer holds the mutex: its session has ended. What was under way was rolled back."""


@dataclass(frozen=True)
class Spot:
    """Which step of which migration.

    Args:
        name: of the migration.
        phase: of the step.
        number: of the step in its phase, from 0.
    """

    name: str
    phase: Phase
    number: int

    def __str__(self) -> str:
        """Return '0003_merge_names, execute, step 1'."""
        return f"{self.name}, {self.phase}, step {self.number + 1}"


@dataclass(frozen=True)
class BackfillSeen:
    """What a backfill has before it, and what it has done.

    Args:
        key: columns that it goes by.
        rows: estimate of the rows that it goes over, from the first to the largest key at its start.
        over: rows that it has gone over.
        changed: rows that it has changed.
        size: of the last batch; 0 where there was none.
        finished: whether it has come to the largest key.
        newest: the last batches, the newest first: what the next one's size goes by.
    """

    key: tuple[str, ...]
    rows: int
    over: int = 0
    changed: int = 0
    size: int = 0
    finished: bool = False
    newest: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class BatchDone:
    """One batch that was committed with its cursor.

    Args:
        over: rows that it has gone over.
        changed: rows that it has changed.
        seconds: that it took, commit included.
        finished: whether the largest key at start is reached.
    """

    over: int
    changed: int
    seconds: float
    finished: bool


class Engine(Protocol):
    """The one that may change the database: it holds the mutex, and shows in each transaction that it still does.

    Every method that changes something writes the history in the same transaction, where it works in one. All raise:
    Contended: locks were not to be had; try again.
    MutexLost: the mutex's session has ended; begin again from `locked`.
    Retryable: the server did not answer, or broke off; observe again, then go on.
    Refused: the database does not do it; it was rolled back.
    """

    def begin(self, compiled: Compiled, backup: str, run_id: str) -> None:
        """The migration is under way on record, with all that will be done; a failure is forgotten. *Idempotent:* yes.

        Args:
            compiled: what will be done.
            backup: id of the backup that was taken before; ''.
            run_id: the flow run.

        Raises:
            Refused: another attempt at it is on record and was neither undone nor is it the same.
        """
        ...

    def note(self, name: str, *, backup: str = "", accepted: str = "") -> None:
        """What was asked before a phase is on record; '' leaves what there is. *Idempotent:* yes.

        Args:
            name: of the migration, which was begun.
            backup: id of the backup that there is now.
            accepted: who answers for conditions that are not met, why, and for which.
        """
        ...

    def run(self, at: Spot, step: Step, limits: Limits, left_s: float) -> int:
        """The step, no backfill, is done and on record; returns the rows that it changed. *Idempotent:* yes.

        What its history says is done is not done again. An index that an interrupted build has left is built again.

        Args:
            at: which step.
            step: what is done.
            limits: how long it waits for locks.
            left_s: how long it may take.

        Raises:
            Refused: it cannot be done; a check that found rows shows some of them.
        """
        ...

    def open_backfill(self, at: Spot, step: Backfill) -> BackfillSeen:
        """It is on record up to which key it goes; returns how far it has come. *Idempotent:* yes; the first key stays.

        Raises:
            Refused: nothing can be used as key, or it could not be repeated and nothing guards it.
        """
        ...

    def batch(self, at: Spot, step: Backfill, size: int, limits: Limits) -> BatchDone:
        """The next rows are changed, and the cursor is behind them, in one transaction. *Idempotent:* by its cursor.

        Args:
            at: which step.
            step: the backfill, opened.
            size: most rows to go over, above 0.
            limits: how long it waits for locks, and may hold its own.

        Raises:
            TooSlow: it was not done in the time that it may hold its locks, and was rolled back; a smaller one may be.
            Refused: rows that were changed still meet its guard, or the data does not allow the change.
        """
        ...

    def end_phase(self, name: str, phase: Phase) -> None:
        """All of the phase is done on record; after the last phase the migration is applied. *Idempotent:* yes."""
        ...

    def begin_undo(self, name: str, keep: Phase | None, run_id: str) -> None:
        """It is on record that the migration is being undone, and how far. *Idempotent:* yes.

        Args:
            name: of the migration.
            keep: the last phase that stays, which is the last one done from now on; None for none.
            run_id: the flow run.

        Raises:
            Refused: its point of no return is passed.
        """
        ...

    def undo(self, at: Spot, position: int, step: Step, limits: Limits) -> int:
        """One step of what takes a step back is done and on record; returns rows changed. *Idempotent:* yes.

        Args:
            at: the step that is taken back.
            position: of `step` in its undo, from 0.
            step: what is done.
            limits: how long it waits for locks.
        """
        ...

    def end_undo(self, name: str, keep: Phase | None) -> None:
        """It is on record that the migration is undone, and it may be applied anew. *Idempotent:* yes.

        Args:
            name: of the migration.
            keep: the last phase that stays; None for none. With one, the migration goes on from there.
        """
        ...

    def fail(self, name: str, problem: str) -> None:
        """The migration has failed on record, and why; one that is half undone stays so. *Idempotent:* yes.

        Args:
            name: of the migration.
            problem: without secrets.
        """
        ...


class MigrationTarget(Protocol):
    """A database that is migrated.

    Looking never changes anything, not even the history's own tables: where there are none, nothing was applied.
    """

    @property
    def on(self) -> str:
        """Return which one it is, for messages, without secrets."""
        ...

    def observe(self) -> Observed:
        """Return what is there now.

        Raises:
            Retryable: it does not answer.
            Refused: it does not let us in, or its history was written by a newer Slipway.
        """
        ...

    def measure(self, tables: Sequence[Table]) -> Measures:
        """Return how the server is just now, for the rules of health; what cannot be measured is None.

        Args:
            tables: that are being changed.

        Raises:
            Retryable: it does not answer.
        """
        ...

    def volatile(self, table: Table, expressions: Mapping[str, str]) -> Sequence[str]:
        """Return what in the expressions gives another value each time: 'random()', 'nextval(regclass)'; () if nothing.

        Args:
            table: whose columns they use; it exists.
            expressions: by what they are for, for errors; conditions also.

        Raises:
            Refused: one of them is no expression over this table.
        """
        ...

    def locked(self, run_id: str, within_s: float) -> AbstractContextManager[Engine]:
        """This engine alone may change the database within the block; its history is ready.

        Args:
            run_id: the flow run, which others are told of.
            within_s: longest wait for another one; it is asked for again and again, and nobody waits behind it.

        Raises:
            Refused: another engine is at work; which one. Or the role may not make the history's schema.
        """
        ...
