"""The nouns of partitions by ranges of time: what is there, and the steps that change it (MIG-3). Pure.

Bounds are moments on the axis of the column: in UTC for `timestamp with time zone`, and the wall clock, as if it were
UTC, for `timestamp` and `date`.

A partition that was made the usual way would take an ACCESS EXCLUSIVE lock on the table. So it is made beside it, and
attached, which blocks neither readers nor writers. One that leaves says so in its comment before it does: nothing is
ever dropped that does not.

*Source:* PostgreSQL manual, 5.11.2.2 Partition Maintenance, and ALTER TABLE ... ATTACH / DETACH PARTITION.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from tasks.migration.catalogue import Identity, LongTransaction
from tasks.migration.model import Table, quoted

_BOUNDS = re.compile(r"FOR VALUES FROM \((?P<lower>'[^']*'|MINVALUE)\) TO \((?P<upper>'[^']*'|MAXVALUE)\)")
_MARK = "slipway: was a partition of "
_MARKED = re.compile(
    r"slipway: was a partition of (?P<parent>[^\n]+), from (?P<lower>[^\n,]+) to (?P<upper>[^\n,]+), "
    r"(?:leaves|detached at (?P<at>[0-9T:+-]+))(?:\n(?P<rest>.*))?",
    re.DOTALL,
)


class KeyType(StrEnum):
    """What a table is partitioned by."""

    MOMENT = "timestamp with time zone"
    CLOCK = "timestamp without time zone"
    DAY = "date"


@dataclass(frozen=True)
class Mark:
    """What the comment of a partition says that leaves, or has left.

    Args:
        parent: the table that it belongs to, quoted: '"public"."payment"'.
        lower: its first moment, as SQL has it.
        upper: the first moment after it.
        detached_at: when it was found to be detached; None where it was not yet.
        rest: the comment that it had before.
    """

    parent: str
    lower: str
    upper: str
    detached_at: datetime | None = None
    rest: str = ""

    def __str__(self) -> str:
        """Return the comment."""
        when = f"detached at {self.detached_at.isoformat(timespec='seconds')}" if self.detached_at else "leaves"
        text = f"{_MARK}{self.parent}, from {self.lower} to {self.upper}, {when}"
        return f"{text}\n{self.rest}" if self.rest else text


def read_mark(comment: str) -> Mark | None:
    """Return what a comment says; None where it is nobody's but a person's."""
    match = _MARKED.fullmatch(comment)
    if match is None:
        return None
    at = datetime.fromisoformat(match["at"]) if match["at"] else None
    return Mark(match["parent"], match["lower"], match["upper"], at, match["rest"] or "")


@dataclass(frozen=True)
class Partition:
    """A partition of a table.

    Args:
        table: its name.
        lower: its first moment on the axis; None for MINVALUE.
        upper: the first moment after it; None for MAXVALUE.
        default: whether it takes what no other takes.
        pending: whether a concurrent detach of it was interrupted, or is under way.
        comment: '' where there is none.
        rows: estimate; below 0 where nobody has counted.
        size_bytes: with its indexes.
    """

    table: Table
    lower: datetime | None = None
    upper: datetime | None = None
    default: bool = False
    pending: bool = False
    comment: str = ""
    rows: int = -1
    size_bytes: int = 0

    @property
    def mark(self) -> Mark | None:
        """Return what its comment says; None where it says nothing of leaving."""
        return read_mark(self.comment)


@dataclass(frozen=True)
class Detached:
    """A table that was a partition, and whose comment says so.

    Args:
        table: its name.
        mark: what its comment says.
        rows: estimate; below 0 where nobody has counted.
        size_bytes: with its indexes.
    """

    table: Table
    mark: Mark
    rows: int = -1
    size_bytes: int = 0


@dataclass(frozen=True)
class Ranged:
    """A table that is to be looked after, as it was seen.

    Args:
        name: as the estate file has it.
        table: its name; without a schema where there is none.
        problem: why nobody can look after it; ''.
        next_action: what to do about that.
        key: the column of its ranges.
        type: of the key.
        columns: that can be written to: all but generated ones.
        owner: of the table; '' where that is the role at work.
        partitions: that it has.
        detached: that it had.
        taken: names that other relations of its schema have and that begin as its own does.
    """

    name: str
    table: Table
    problem: str = ""
    next_action: str = ""
    key: str = ""
    type: KeyType = KeyType.MOMENT
    columns: tuple[str, ...] = ()
    owner: str = ""
    partitions: tuple[Partition, ...] = ()
    detached: tuple[Detached, ...] = ()
    taken: frozenset[str] = frozenset()

    @property
    def default(self) -> Partition | None:
        """Return the default partition; None where there is none."""
        return next((each for each in self.partitions if each.default), None)


@dataclass(frozen=True)
class Seen:
    """Tables of ranges, seen at one moment.

    Args:
        identity: which database.
        server_version: as `server_version_num` has it: 150018.
        now: by the server's clock, aware.
        tables: in the order in which they were asked for.
        long: transactions that are open for long.
    """

    identity: Identity
    server_version: int
    now: datetime
    tables: tuple[Ranged, ...]
    long: tuple[LongTransaction, ...] = ()


@dataclass(frozen=True)
class Create:
    """A partition is there, made beside its table and attached in one transaction.

    Args:
        parent: the table.
        partition: its name.
        lower: its first moment, as SQL has it.
        upper: the first moment after it, likewise.
        beside_default: whether the default partition is looked through for its rows, under a lock.
        owner: that the partition is to have; '' where it has it anyway.
    """

    parent: Table
    partition: Table
    lower: str
    upper: str
    beside_default: bool = False
    owner: str = ""

    @property
    def statements(self) -> tuple[str, ...]:
        """Return what is run."""
        like = f"(LIKE {self.parent} INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY)"
        owned = (f"ALTER TABLE {self.partition} OWNER TO {quoted(self.owner)}",) if self.owner else ()
        attached = attach(self.parent, self.partition, self.lower, self.upper)
        return (f"CREATE TABLE {self.partition} {like}", *owned, attached)

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.parent.name}: make {self.partition.name}, from {self.lower} to {self.upper}"


@dataclass(frozen=True)
class Note:
    """The comment of a partition says that it leaves, or that it has left."""

    parent: Table
    partition: Table
    mark: Mark

    @property
    def statements(self) -> tuple[str, ...]:
        """Return what is run."""
        text = str(self.mark).replace("'", "''")
        return (f"COMMENT ON TABLE {self.partition} IS '{text}'",)

    def __str__(self) -> str:
        """Return it in words."""
        what = "that it is detached" if self.mark.detached_at else "that it leaves"
        return f"{self.parent.name}: note {what} as comment of {self.partition.name}"


@dataclass(frozen=True)
class Detach:
    """A partition is a table of its own, with all its rows. A detach that was interrupted is finished.

    Args:
        parent: the table.
        partition: its name.
        concurrently: without a lock that keeps users out; not possible beside a default partition.
        size: of it, in words.
    """

    parent: Table
    partition: Table
    concurrently: bool
    size: str = ""

    @property
    def statements(self) -> tuple[str, ...]:
        """Return what is run."""
        how = " CONCURRENTLY" if self.concurrently else ""
        return (f"ALTER TABLE {self.parent} DETACH PARTITION {self.partition}{how}",)

    @property
    def finish(self) -> str:
        """Return what is run where an earlier one was interrupted."""
        return f"ALTER TABLE {self.parent} DETACH PARTITION {self.partition} FINALIZE"

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.parent.name}: detach {self.partition.name}" + (f", {self.size}" if self.size else "")


@dataclass(frozen=True)
class Drop:
    """A table that was a partition is gone, for good. Only one whose comment says when it was detached is dropped."""

    parent: Table
    partition: Table
    size: str = ""

    @property
    def statements(self) -> tuple[str, ...]:
        """Return what is run."""
        return (f"DROP TABLE {self.partition}",)

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.parent.name}: drop {self.partition.name} for good" + (f", {self.size}" if self.size else "")


Step = Create | Note | Detach | Drop


def attach(parent: Table, partition: Table, lower: str, upper: str) -> str:
    """Return the statement that makes a table a partition."""
    return f"ALTER TABLE {parent} ATTACH PARTITION {partition} FOR VALUES FROM ('{lower}') TO ('{upper}')"


@dataclass(frozen=True)
class Problem:
    """What stands in the way of a table.

    Args:
        table: as the estate file has it.
        what: is wrong.
        next_action: what to do.
    """

    table: str
    what: str
    next_action: str

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.what}; {self.next_action}"


@dataclass(frozen=True)
class Plan:
    """What is to be done for one table.

    Args:
        steps: in this order.
        problems: what is not done, and why.
        notes: what people should know.
    """

    steps: tuple[Step, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = field(default=())


def bounds_of(text: str) -> tuple[datetime | None, datetime | None] | None:
    """Return the bounds that a server writes with UTC as its time zone; None where they cannot be read."""
    match = _BOUNDS.fullmatch(text)
    if match is None:
        return None
    try:
        return _moment(match["lower"]), _moment(match["upper"])
    except ValueError:
        return None


def _moment(text: str) -> datetime | None:
    inner = text.strip("'")
    if inner in ("MINVALUE", "MAXVALUE", "infinity", "-infinity"):
        return None
    found = datetime.fromisoformat(inner)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
