"""The nouns of migrations: typed steps with their undo, and what they are compiled into. Pure.

A migration is compiled once, when it begins, and kept in the history of its database as data. Every later run, also one
that undoes, reads it from there: what the catalogue looks like half way never changes what is still to be done.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from tasks.common.migrations import PHASES, Phase
from tasks.common.model import StrictModel

Undo = tuple["Step", ...] | None
"""What takes a step back, in order; () where there is nothing to take back, None where it cannot be taken back."""


class Table(StrictModel):
    """A table by name, unquoted, exactly as the catalogue has it; '' as schema is the first that has it on the path."""

    name: str
    schema_: str = Field(default="public", alias="schema")

    def __str__(self) -> str:
        """Return it quoted, for SQL: '"public"."customer"'."""
        return f"{quoted(self.schema_)}.{quoted(self.name)}" if self.schema_ else quoted(self.name)


def quoted(name: str) -> str:
    """Return an identifier for SQL, always in quotes."""
    return '"' + name.replace('"', '""') + '"'


class _StepBase(StrictModel):
    """What every step has."""

    what: str = Field(default="", description="what it does, in a few words, for plans and reports")
    undo: Undo = ()


class Ddl(_StepBase):
    """Statements that run in one transaction, together with the history's row of the step.

    Short `lock_timeout`, tried again with pauses. They never wait behind users for longer than that.
    """

    kind: Literal["ddl"] = "ddl"
    statements: tuple[str, ...]


class BuildIndex(_StepBase):
    """An index is built concurrently, outside of a transaction, without `lock_timeout`.

    An INVALID one of that name on that table, which an interrupted build has left, is dropped and built again. A valid
    one of that name is what an earlier try has finished, and is left where its row in the history says that it began.

    Args:
        statement: the whole 'create [unique] index concurrently NAME on ...', without 'if not exists'.
        index: name of the index, unquoted; it lies in the table's schema.
    """

    kind: Literal["build index"] = "build index"
    statement: str
    index: str
    table: Table


class DropIndex(_StepBase):
    """An index is gone: dropped concurrently, outside of a transaction; one that is not there is none.

    Args:
        index: name of the index, unquoted.
        schema_: where it lies.
    """

    kind: Literal["drop index"] = "drop index"
    index: str
    schema_: str = Field(default="public", alias="schema")


class ValidateConstraint(_StepBase):
    """A constraint that was added as NOT VALID holds for all rows. Reads the table, and blocks no reader and no writer.

    Args:
        constraint: name, unquoted.
    """

    kind: Literal["validate constraint"] = "validate constraint"
    table: Table
    constraint: str


class Backfill(_StepBase):
    """Rows are changed in batches by key, each batch in a transaction of its own with its cursor.

    In each of its transactions `current_setting('slipway.migration', true)` is the migration's name, so that a trigger
    can let its rows pass.

    Args:
        set_: column, unquoted, to SQL expression over the row's columns; the table's alias is its name.
        where: SQL condition on the rows to change; '' for all. Where an expression is not repeatable, it must leave out
            the rows that were changed.
        key: the columns to go by; () for the primary key, else a unique index whose columns are NOT NULL.
        batch: rows of the first batch; the next are sized by how long it takes.
        most: rows of the largest batch.
        interval_s: time that a batch is sized for: users may have to wait for a row as long.
        pause_s: pause between two batches.
    """

    kind: Literal["backfill"] = "backfill"
    table: Table
    set_: Mapping[str, str] = Field(alias="set")
    where: str = ""
    key: tuple[str, ...] = ()
    batch: int = Field(default=1000, ge=1, le=2_000_000)
    most: int = Field(default=2_000_000, ge=1, le=2_000_000)
    interval_s: float = Field(default=0.25, gt=0, le=60)
    pause_s: float = Field(default=0.05, ge=0, le=60)


class Check(_StepBase):
    """A query returns no row. What it does return is shown. Reads only.

    Args:
        query: one SELECT; its rows are what is wrong.
        says: what is wrong where it returns rows: 'customers without a name'.
    """

    kind: Literal["check"] = "check"
    query: str
    says: str


class Expect(_StepBase):
    """A suite of Great Expectations is met.

    Args:
        suite: the file's whole text.
        name: of the file, for reports.
    """

    kind: Literal["expect"] = "expect"
    suite: str
    name: str


Step = Annotated[
    Ddl | BuildIndex | DropIndex | ValidateConstraint | Backfill | Check | Expect, Field(discriminator="kind")
]
"""One step. *Decided in* `tasks/migration`, run by a `MigrationTarget`."""

for _kind in (Ddl, BuildIndex, DropIndex, ValidateConstraint, Backfill, Check, Expect):
    _kind.model_rebuild()


class Limits(StrictModel):
    """How long things may take.

    Args:
        settle_s: pause after a phase (MIG-1: 5 s).
        phase_s: longest work on a phase, holds and pauses not counted (MIG-2: 10 min).
        lock_timeout_ms: longest wait of a statement for a lock, and so of users behind it.
        lock_tries: how often a statement is tried that did not get its lock.
    """

    settle_s: float = 5.0
    phase_s: float = 600.0
    lock_timeout_ms: int = 500
    lock_tries: int = 30


class Compiled(StrictModel):
    """A migration as data: what is done in each phase, and how each step of it is taken back.

    Args:
        name: of the folder: '0003_merge_names'.
        checksum: of what was written, normalised.
        phases: the steps of each phase, in order; a phase without steps may be left out.
        no_return: the phase with whose beginning nothing can be undone any more; None where all can.
        version: schema of views that its clients name; '' where it has none.
        limits: how long things may take.
    """

    name: str
    checksum: str
    phases: Mapping[Phase, tuple[Step, ...]]
    no_return: Phase | None = Phase.CLEANUP
    version: str = ""
    limits: Limits = Limits()

    def steps(self, phase: Phase) -> tuple[Step, ...]:
        """Return the steps of a phase; () where there are none."""
        return self.phases.get(phase, ())

    def all_steps(self) -> Iterator[tuple[Phase, int, Step]]:
        """Yield every step with its phase and its number there, from 0."""
        for phase in PHASES:
            for number, step in enumerate(self.steps(phase)):
                yield phase, number, step

    def can_undo(self, phase: Phase) -> bool:
        """Return whether a phase lies before the point of no return."""
        return self.no_return is None or PHASES.index(phase) < PHASES.index(self.no_return)

    def not_undoable(self) -> tuple[tuple[Phase, Step], ...]:
        """Return the steps before the point of no return that nothing takes back."""
        return tuple((phase, step) for phase, _, step in self.all_steps() if self.can_undo(phase) and step.undo is None)
