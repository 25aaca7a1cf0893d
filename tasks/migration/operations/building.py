"""Constraints and indexes of the new shape as statements, and what becomes of those of the old one. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tasks.migration.model import BuildIndex, Check, Ddl, DropIndex, Step, ValidateConstraint, quoted
from tasks.migration.operations.expressions import literal, renamed
from tasks.migration.operations.shape import (
    ColumnState,
    IndexState,
    Rule,
    State,
    TableState,
    Wrong,
    behind_table,
    columns_sql,
)

_DEFERRABLE = re.compile(r"\b(?:NOT )?DEFERRABLE\b.*$", re.DOTALL)
_NOT_VALID = re.compile(r"\s+NOT VALID\s*$")
KEYS = {"primary key": "PRIMARY KEY", "unique": "UNIQUE"}
"""Constraints that an index keeps."""


class Fate(StrEnum):
    """What becomes of a constraint or an index."""

    KEPT = "kept"
    """It stays as it is; its name may change."""
    COPIED = "copied"
    """Columns of it are replaced: it is made again for the fresh ones, and takes its name over in cleanup."""
    MADE = "made"
    """This migration makes it."""
    GOES = "goes"
    """It goes with a column."""


@dataclass(frozen=True)
class Place:
    """A constraint or an index, and what it is called while there are two versions."""

    name: str
    final: str


def fate(table: TableState, item: Rule | IndexState) -> Fate:
    """Return what becomes of a constraint or an index of the newest shape."""
    newest = [each.newest() for each in item.columns.values()]
    if any(each not in table.columns for each in newest):
        return Fate.GOES
    if item.original is None:
        return Fate.MADE
    target = item.target if isinstance(item, Rule) else []
    moved = any(each.newest() is not each for each in [*item.columns.values(), *target])
    return Fate.COPIED if moved else Fate.KEPT


def place(state: State, table: TableState, item: Rule | IndexState) -> Place:
    """Return what something that this migration makes is called now, and in the end."""
    assert table.relation is not None or item.original is None
    mine = {each.name for each in table.relation.constraints} if table.relation is not None else set()
    indexed = isinstance(item, IndexState) or item.kind in (*KEYS, "exclude")
    taken = item.name in mine or (indexed and state.taken(item.name))
    return Place(state.made(item.name) if taken else item.name, item.name)


def physical(columns: Iterable[ColumnState]) -> str:
    """Return columns for SQL, as they are called while there are two versions."""
    return columns_sql(each.newest().physical for each in columns)


def definition(rule: Rule) -> str:
    """Return a check, foreign key or exclusion as SQL, over the columns that hold the newest shape."""
    names = {name: quoted(each.newest().physical) for name, each in rule.columns.items()}
    if rule.kind == "foreign key":
        assert rule.target_table is not None
        target = f"{rule.target_table.table}({physical(rule.target)})"
        return f"FOREIGN KEY ({physical(rule.columns.values())}) REFERENCES {target}{_NOT_VALID.sub('', rule.text)}"
    if rule.kind in KEYS:
        return f"{KEYS[rule.kind]} ({physical(rule.columns.values())})"
    if rule.original is not None or rule.kind == "exclude":
        return renamed(_NOT_VALID.sub("", rule.text), names)
    return f"CHECK ({renamed(rule.text, names)})"


def breaks(rule: Rule, table: TableState) -> Check:
    """Return the step that finds rows which break a check or a foreign key, and names them."""
    names = {name: quoted(each.newest().physical) for name, each in rule.columns.items()}
    key = key_of(table)
    if rule.kind == "check":
        text = _NOT_VALID.sub("", rule.text)
        condition = renamed(re.sub(r"^CHECK\s*", "", text) if rule.original is not None else f"({text})", names)
        query = f"SELECT {key} FROM {table.table} WHERE NOT {condition.removesuffix(' NO INHERIT')} LIMIT 10"  # noqa: S608
        return Check(what=f"{rule.name} holds", query=query, says=f"rows of {table.name} break {rule.name}")
    assert rule.target_table is not None
    mine = [each.newest() for each in rule.columns.values()]
    pairs = zip(mine, rule.target, strict=True)
    join = " AND ".join(f"o.{quoted(b.newest().physical)} = t.{quoted(a.physical)}" for a, b in pairs)
    given = " AND ".join(f"t.{quoted(each.physical)} IS NOT NULL" for each in mine)
    query = (
        f"SELECT {physical(mine)} FROM {table.table} t WHERE {given} AND NOT EXISTS "  # noqa: S608
        f"(SELECT FROM {rule.target_table.table} o WHERE {join}) LIMIT 10"
    )
    says = f"rows of {table.name} refer to rows of {rule.target_table.name} that are not there ({rule.name})"
    return Check(what=f"{rule.name} holds", query=query, says=says)


def duplicates(table: TableState, name: str, columns: Sequence[ColumnState], where: str = "") -> Check:
    """Return the step that finds rows which are alike in what is to be unique, and names them."""
    newest = [each.newest() for each in columns]
    given = " AND ".join([f"{quoted(each.physical)} IS NOT NULL" for each in newest] + ([where] if where else []))
    query = (
        f'SELECT {physical(newest)}, count(*) AS "rows" FROM {table.table} WHERE {given} '  # noqa: S608
        f"GROUP BY {physical(newest)} HAVING count(*) > 1 LIMIT 10"
    )
    return Check(what=f"{name} has no duplicates", query=query, says=f"duplicates in {table.name} break {name}")


def key_of(table: TableState) -> str:
    """Return the columns that rows are shown by."""
    assert table.relation is not None
    key = table.relation.batch_key() or tuple(each.name for each in table.relation.columns[:3])
    return columns_sql(key)


def not_valid(state: State, table: TableState, rule: Rule) -> Ddl:
    """Return the step that adds a check or foreign key for new rows only."""
    name = quoted(place(state, table, rule).name)
    statements = [f"ALTER TABLE {table.table} ADD CONSTRAINT {name} {definition(rule)} NOT VALID"]
    if rule.comment:
        statements.append(f"COMMENT ON CONSTRAINT {name} ON {table.table} IS {literal(rule.comment)}")
    undo = (
        Ddl(
            statements=(f"ALTER TABLE {table.table} DROP CONSTRAINT IF EXISTS {name}",),
            what=f"drop the constraint {rule.name}",
        ),
    )
    return Ddl(statements=tuple(statements), what=f"add {rule.name} to {table.name}, for new rows", undo=undo)


def validated(state: State, table: TableState, rule: Rule) -> ValidateConstraint:
    """Return the step after which a check or foreign key holds for all rows."""
    name = place(state, table, rule).name
    return ValidateConstraint(what=f"validate {rule.name} of {table.name}", table=table.table, constraint=name)


def built(state: State, table: TableState, item: Rule | IndexState) -> list[Step]:
    """Return the steps that build an index, or that of a constraint, without blocking writers.

    Raises:
        Wrong: the server cannot do that for such a table.
    """
    assert table.relation is not None
    if table.relation.kind == "partitioned table":
        raise Wrong(
            f"{item.name} on {table.name}, which has partitions", "SQL by hand: an index a partition, then their parent"
        )
    unique = isinstance(item, Rule) or item.unique
    name = place(state, table, item).name
    statement = (
        f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {quoted(name)} ON {table.table} {_text(table, item)}"
    )
    undo = (DropIndex(what=f"drop the index {item.name}", index=name, schema_=table.schema),)
    steps: list[Step] = []
    if unique and (isinstance(item, Rule) or "WHERE" not in item.text):
        steps.append(duplicates(table, item.name, _keys(item)))
    steps.append(
        BuildIndex(what=f"build {item.name}", statement=statement, index=name, table=table.table, undo=undo),
    )
    return steps


def attached(state: State, table: TableState, rule: Rule) -> list[str]:
    """Return the statements that make a constraint of its index."""
    where = place(state, table, rule)
    deferred = _DEFERRABLE.search(rule.original.definition) if rule.original is not None else None
    ending = f" {deferred[0]}" if deferred is not None else ""
    made = f"{KEYS[rule.kind]} USING INDEX {quoted(where.name)}{ending}"
    statements = [f"ALTER TABLE {table.table} ADD CONSTRAINT {quoted(rule.name)} {made}"]
    if rule.comment:
        statements.append(f"COMMENT ON CONSTRAINT {quoted(rule.name)} ON {table.table} IS {literal(rule.comment)}")
    return statements


def _text(table: TableState, item: Rule | IndexState) -> str:
    names = {name: quoted(each.newest().physical) for name, each in item.columns.items()}
    if isinstance(item, IndexState):
        return _over(item.text, names)
    assert table.relation is not None
    backing = next((each for each in table.relation.indexes if item.original and each.constraint == item.name), None)
    if backing is not None:
        return _over(behind_table(backing.definition), names)
    return f"USING btree ({physical(item.columns.values())})"


def _over(text: str, names: dict[str, str]) -> str:
    head, opening, rest = text.partition("(")
    return head + opening + renamed(rest, names)


def _keys(item: Rule | IndexState) -> list[ColumnState]:
    if isinstance(item, Rule):
        return list(item.columns.values())
    if item.original is not None and item.original.columns:
        return [item.columns[each] for each in item.original.columns if each in item.columns]
    inside = item.text[item.text.index("(") : item.text.index(")")]
    return [column for name, column in item.columns.items() if quoted(name) in inside]
