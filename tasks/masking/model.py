"""What is known of a copy before it is masked, and what was done to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ColumnFacts:
    """A column of a copy.

    Args:
        spot: schema, table and column.
        type: as PostgreSQL writes it, 'character varying(50)'; of a domain, the type below it.
        required: it refuses NULL.
        unique: it is part of a key, or of another unique index.
        generated: PostgreSQL computes it.
        joins: columns that it refers to, or that refer to it.
    """

    spot: tuple[str, str, str]
    type: str
    required: bool = False
    unique: bool = False
    generated: bool = False
    joins: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class CopyFacts:
    """A copy, before it is masked.

    Args:
        columns: of all tables, by schema, table and column; partitions belong to their table.
        foreign: tables whose rows are on another server.
        large_objects: how many there are.
        not_castable: columns whose fixed value their type does not take.
    """

    columns: Mapping[tuple[str, str, str], ColumnFacts]
    foreign: Sequence[str] = ()
    large_objects: int = 0
    not_castable: frozenset[tuple[str, str, str]] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Survivor:
    """Addresses that are still there: in which column, in how many rows, and the keys of the first 20."""

    where: str
    rows: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Masked:
    """What was done: rows of each table, by its name; those that an earlier call had done are not among them."""

    tables: Mapping[str, int]
    done_before: Sequence[str]
    searched_columns: int
    took_s: float
