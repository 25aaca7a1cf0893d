"""What was seen in a database that is to be migrated. Pure: a driver fills it in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tasks.common.migrations import Phase, Standing
from tasks.migration.model import Compiled


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: unquoted.
        type: as PostgreSQL writes it: 'character varying(40)', 'integer[]'.
        not_null: whether it is declared NOT NULL.
        default: expression of its default; '' where there is none.
        identity: 'always', 'by default' or ''.
        generated: expression of a generated column; '' where it is none.
        comment: '' where there is none.
        collation: where it is not the type's own; ''.
    """

    name: str
    type: str
    not_null: bool = False
    default: str = ""
    identity: str = ""
    generated: str = ""
    comment: str = ""
    collation: str = ""


@dataclass(frozen=True)
class Constraint:
    """A constraint of a table.

    Args:
        name: unquoted.
        kind: 'primary key', 'unique', 'foreign key', 'check' or 'exclude'.
        columns: of this table, in the constraint's order; unquoted.
        definition: as PostgreSQL writes it, without the name: 'FOREIGN KEY (user_id) REFERENCES users(id)'.
        validated: whether it is known to hold for all rows.
        references: schema and name of the table that a foreign key refers to.
        comment: '' where there is none.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    definition: str
    validated: bool = True
    references: tuple[str, str] | None = None
    comment: str = ""


@dataclass(frozen=True)
class Index:
    """An index of a table.

    Args:
        name: unquoted.
        columns: the key's columns; () where an expression is among them.
        unique: whether two rows cannot be alike.
        valid: False for what an interrupted concurrent build has left.
        definition: the whole CREATE INDEX, as PostgreSQL writes it.
        partial: whether it has a WHERE.
        constraint: name of the constraint that it belongs to; ''.
        size_bytes: on disk.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool
    valid: bool
    definition: str
    partial: bool = False
    constraint: str = ""
    size_bytes: int = 0


@dataclass(frozen=True)
class Trigger:
    """A trigger of a table that a user made.

    Args:
        name: unquoted.
        definition: the whole CREATE TRIGGER, as PostgreSQL writes it.
    """

    name: str
    definition: str


@dataclass(frozen=True)
class Relation:
    """A table or a view.

    Args:
        schema: where it lies, unquoted.
        name: unquoted.
        kind: 'table', 'partitioned table', 'view', 'materialized view' or 'foreign table'.
        rows: estimate of the server's statistics; 0 where it has none.
        size_bytes: with its indexes.
        parent: schema and name of what it is a partition of.
        row_security: whether policies apply to it.
        comment: '' where there is none.
    """

    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    indexes: tuple[Index, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    rows: int = 0
    size_bytes: int = 0
    parent: tuple[str, str] | None = None
    row_security: bool = False
    comment: str = ""

    def column(self, name: str) -> Column | None:
        """Return a column by name; None where there is none."""
        return next((each for each in self.columns if each.name == name), None)

    def constraint(self, name: str) -> Constraint | None:
        """Return a constraint by name; None where there is none."""
        return next((each for each in self.constraints if each.name == name), None)

    def primary_key(self) -> tuple[str, ...]:
        """Return the columns of the primary key; () where there is none."""
        return next((each.columns for each in self.constraints if each.kind == "primary key"), ())

    def batch_key(self) -> tuple[str, ...]:
        """Return what batches can go by: the primary key, else the shortest unique index of NOT NULL columns; ()."""
        if self.primary_key():
            return self.primary_key()
        firm = {each.name for each in self.columns if each.not_null}
        fit = [
            each.columns
            for each in self.indexes
            if each.unique and each.valid and not each.partial and each.columns and firm.issuperset(each.columns)
        ]
        return min(fit, key=lambda columns: (len(columns), columns), default=())


@dataclass(frozen=True)
class Catalogue:
    """Tables and views of a database, without the system's and without the history's own.

    Args:
        server_version: as `server_version_num` has it: 150018.
        relations: by schema and name.
        schemas: all that there are.
        search_path: schemas that the engine's role looks in: the first is where old clients are.
    """

    server_version: int
    relations: Mapping[tuple[str, str], Relation]
    schemas: frozenset[str] = frozenset()
    search_path: tuple[str, ...] = ("public",)

    def table(self, name: str, schema: str = "public") -> Relation | None:
        """Return a relation; None where there is none."""
        return self.relations.get((schema, name))


@dataclass(frozen=True)
class StepDone:
    """What the history has of one step.

    Args:
        phase: of the step.
        number: of the step in the phase, from 0.
        state: 'begun' or 'done'.
        undone: how many of the steps of its undo are done.
        began_at: when.
        ended_at: when it was done; None where it is not.
        seconds: of work on it so far.
        rows: that it has changed.
    """

    phase: Phase
    number: int
    state: str
    undone: int = 0
    began_at: datetime | None = None
    ended_at: datetime | None = None
    seconds: float = 0.0
    rows: int = 0


@dataclass(frozen=True)
class Attempt:
    """What the history has of one attempt to apply one migration.

    Args:
        standing: where it stands.
        compiled: what was to be done when it began, and is to be done until it ends.
        steps: what was begun or done.
        problem: what has failed; '' where nothing has.
    """

    standing: Standing
    compiled: Compiled
    steps: tuple[StepDone, ...] = ()
    problem: str = ""

    def step(self, phase: Phase, number: int) -> StepDone | None:
        """Return what there is of a step; None where it was not begun."""
        return next((each for each in self.steps if (each.phase, each.number) == (phase, number)), None)


@dataclass(frozen=True)
class Identity:
    """Which database it is.

    Args:
        database: its name.
        system_id: of its cluster: pg_control_system(), a decimal number as text; '' where it may not be read.
        standby: whether the server is one, and takes no writes.
        read_only: whether sessions of this role take no writes, though the server would.
        engine: what kind of database it is, as migrations name it.
    """

    database: str
    system_id: str = ""
    standby: bool = False
    read_only: bool = False
    engine: str = "postgresql"


@dataclass(frozen=True)
class LongTransaction:
    """A session that has a transaction open for long.

    Args:
        pid: of the server's process.
        who: role and application.
        seconds: since its transaction began.
        state: of the session: 'idle in transaction', 'active'.
    """

    pid: int
    who: str
    seconds: float
    state: str


@dataclass(frozen=True)
class Observed:
    """All that a plan is made from, seen at one moment.

    Args:
        identity: which database.
        catalogue: what is in it.
        attempts: the newest attempt at each migration that was not undone, in the order of their names.
        disk_free_bytes: where the data folder is; None where the server is on another machine and nobody can tell.
        disk_total_bytes: as before.
        long: transactions that are open for long.
        engine: who holds the mutex now, for messages; '' where nobody does.
    """

    identity: Identity
    catalogue: Catalogue
    attempts: Sequence[Attempt] = ()
    disk_free_bytes: int | None = None
    disk_total_bytes: int | None = None
    long: tuple[LongTransaction, ...] = field(default=())
    engine: str = ""

    def attempt(self, name: str) -> Attempt | None:
        """Return the newest attempt at a migration; None where there is none, or it was undone."""
        return next((each for each in self.attempts if each.standing.name == name), None)
