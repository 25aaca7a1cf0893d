"""What came of evaluating suites, and what a table looks like when one is derived from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Found(StrEnum):
    """What became of an expectation."""

    HELD = "held"
    FAILED = "failed"
    NOT_EVALUATED = "not evaluated"
    """Nobody knows whether it holds, which is never a pass, whatever its severity."""


@dataclass(frozen=True)
class Checked:
    """One expectation, evaluated.

    Args:
        table: what it is about.
        type: its type.
        about: its columns; '' for the whole table.
        critical: whether a failure fails the verification.
        why: what it protects.
        found: what became of it.
        observed: the figure that was found, where there is one.
        unexpected: number of rows that are not as expected; None where it is not about rows.
        keys: of the first 20 of those rows, as text; never other contents.
        problem: why it could not be evaluated.
    """

    table: str
    type: str
    about: str
    critical: bool
    why: str
    found: Found
    observed: str = ""
    unexpected: int | None = None
    keys: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Report:
    """What came of all suites.

    Args:
        checked: in the order of the files; one for each expectation that was asked for.
        took_s: from the start of the process to its end.
        memory_bytes: most memory that the process held.
        version: of Great Expectations.
    """

    checked: Sequence[Checked]
    took_s: float
    memory_bytes: int
    version: str


@dataclass(frozen=True)
class ColumnProfile:
    """What a column of a healthy table looks like.

    Args:
        name: its name.
        kind: 'number', 'moment', 'text' or 'other'.
        required: whether the table itself refuses NULL.
        nulls: rows without a value.
        distinct: different values.
        key: whether it is part of a key or refers to one; such numbers grow.
        low: smallest value, as text that a file can hold; None where there is none.
        high: largest value.
        whole: whether its numbers are whole.
        values: all its values where there are few; none where it looks personal.
        mail: whether all its values, one or more, are mail addresses.
        personal: whether its name is that of personal data.
    """

    name: str
    kind: str
    required: bool
    nulls: int
    distinct: int
    key: bool = False
    low: str | None = None
    high: str | None = None
    whole: bool = False
    values: tuple[str | int | bool, ...] = ()
    mail: bool = False
    personal: bool = False


@dataclass(frozen=True)
class TableProfile:
    """What a healthy table looks like: `keys` are its unique ones, the primary key first."""

    table: str
    rows: int
    columns: Sequence[ColumnProfile]
    keys: Sequence[tuple[str, ...]]
