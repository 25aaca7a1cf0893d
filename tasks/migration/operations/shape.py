"""Tables as a migration finds them and as it wants them: what each operation changes, before it becomes steps. Pure.

A table has its first shape, which old clients have, and the shape that the operations have given it so far. A column
that only new clients have is *fresh*: it is kept in a column of another name until the old shape goes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.migration.catalogue import Catalogue, Constraint, Index, Relation
from tasks.migration.model import Step, Table, quoted
from tasks.migration.operations.expressions import mentioned, short

PREFIX = "_slipway_"
"""How everything begins that a migration makes for the time of two versions."""
_REFERENCES = re.compile(r"\bREFERENCES\s+(?P<table>.+?)\s*\((?P<columns>[^)]*)\)(?P<rest>.*)$", re.DOTALL)


class Wrong(Exception):
    """An operation does not fit: what was found, what is expected."""

    def __init__(self, found: str, expected: str) -> None:
        self.found, self.expected = found, expected
        super().__init__(f"found {found}; expected {expected}")


@dataclass(eq=False)
class Formula:
    """An expression, and the columns that it may mention.

    Args:
        text: SQL over the columns.
        table: what the table is called in it.
        scope: columns by the names that they have in it.
        otherwise: SQL for a row that the expression has no value for, but an error; '' for the error.
    """

    text: str
    table: str
    scope: "dict[str, ColumnState]"
    otherwise: str = ""

    def mentions(self) -> "list[tuple[str, ColumnState]]":
        """Return the columns that it mentions, by name."""
        return [(name, self.scope[name]) for name in mentioned(self._all(), self.scope, self.table)]

    def _all(self) -> str:
        return f"{self.text}, {self.otherwise}" if self.otherwise else self.text


@dataclass(eq=False)
class ColumnState:
    """A column.

    Args:
        name: that clients of the newest shape so far use.
        type: as SQL.
        physical: what holds it while there are two versions.
        fresh: whether this migration makes it.
        up: its value from the columns before, for rows that old clients write.
        down: its value from the columns after it went, for rows that new clients write.
        successor: the fresh column that took its place, and that its rules go with.
        view_default: the default that only new clients have; None where they have the column's own.
        view_comment: likewise.
        loosened: whether NOT NULL goes with the old shape, and no earlier.
    """

    name: str
    type: str
    physical: str
    fresh: bool = False
    not_null: bool = False
    default: str = ""
    identity: str = ""
    generated: str = ""
    comment: str = ""
    collation: str = ""
    up: Formula | None = None
    down: Formula | None = None
    successor: "ColumnState | None" = None
    view_default: str | None = None
    view_comment: str | None = None
    loosened: bool = False

    def newest(self) -> "ColumnState":
        """Return the column that holds it in the newest shape."""
        return self if self.successor is None else self.successor.newest()


@dataclass(eq=False)
class Rule:
    """A constraint.

    Args:
        name: that it has in the end.
        kind: 'primary key', 'unique', 'foreign key', 'check' or 'exclude'.
        columns: by the names that `text` has for them.
        text: of a check its condition; of a foreign key what stands behind the columns of the other table; else ''.
        original: as it was found; None where this migration makes it.
        target: of a foreign key: the other table's columns.
        target_table: of a foreign key.
        comment: to carry over.
    """

    name: str
    kind: str
    columns: "dict[str, ColumnState]"
    text: str = ""
    original: Constraint | None = None
    target: "list[ColumnState]" = field(default_factory=list)
    target_table: "TableState | None" = None
    comment: str = ""


@dataclass(eq=False)
class IndexState:
    """An index.

    Args:
        name: that it has in the end.
        unique: whether it is one.
        columns: that it mentions, by the names that `text` has for them.
        text: what stands behind the table: 'USING btree (name)'.
        original: as it was found; None where this migration makes it.
    """

    name: str
    unique: bool
    columns: "dict[str, ColumnState]"
    text: str
    original: Index | None = None


@dataclass(eq=False)
class TableState:
    """A table.

    Args:
        name: that clients of the newest shape so far use.
        physical: its name while there are two versions.
        relation: as it was found; None where this migration makes it.
        columns: of the newest shape so far, in order.
        first: of the first shape.
        rules: of the newest shape so far.
        indexes: likewise, without those that constraints have.
        gone_rules: that were dropped, without what took their place.
        gone_indexes: likewise.
        comment: of a table that this migration makes.
        view_comment: that only new clients see; None where they see the table's own.
    """

    name: str
    physical: str
    schema: str
    relation: Relation | None = None
    columns: list[ColumnState] = field(default_factory=list)
    first: list[ColumnState] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    indexes: list[IndexState] = field(default_factory=list)
    gone_rules: list[Rule] = field(default_factory=list)
    gone_indexes: list[IndexState] = field(default_factory=list)
    comment: str = ""
    view_comment: str | None = None

    @property
    def created(self) -> bool:
        """Return whether this migration makes it."""
        return self.relation is None

    @property
    def table(self) -> Table:
        """Return what it is called in the database while there are two versions."""
        return Table(name=self.physical, schema_=self.schema)

    @property
    def fresh(self) -> list[ColumnState]:
        """Return the columns that only new clients have, of a table that was there."""
        return [] if self.created else [each for each in self.columns if each.fresh]

    @property
    def gone(self) -> list[ColumnState]:
        """Return the columns that only old clients have."""
        return [each for each in self.first if each not in self.columns]

    def scope(self) -> dict[str, ColumnState]:
        """Return the columns of the newest shape so far, by name."""
        return {each.name: each for each in self.columns}

    def column(self, name: str) -> ColumnState:
        """Return a column of the newest shape so far.

        Raises:
            Wrong: it has none of that name.
        """
        found = self.scope().get(name)
        if found is None:
            raise Wrong(f"no column {name!r} in {self.name}", f"one of: {', '.join(self.scope())}")
        return found

    def formula(self, text: str, otherwise: str = "") -> Formula:
        """Return an expression over the columns of the newest shape so far."""
        return Formula(text, self.name, self.scope(), otherwise)

    def require_free(self, name: str) -> None:
        """There is no column of that name in the newest shape so far.

        Raises:
            Wrong: there is.
        """
        if name in self.scope():
            raise Wrong(f"a column {name!r} in {self.name} already", "another name")

    def require_no_rule(self, name: str) -> None:
        """No constraint has that name.

        Raises:
            Wrong: one has.
        """
        if name in {each.name for each in self.rules}:
            raise Wrong(f"a constraint {name!r} of {self.name} already", "another name")


@dataclass
class State:
    """All that the operations of one migration have to do with.

    Args:
        catalogue: what was found.
        number: of the migration, for names: '0016'.
        version: the schema of views that its clients name.
        base: the schema of the tables.
        tables: by no order but that of the catalogue, then as they are made; dropped ones are not among them.
        dropped: tables that only old clients have.
        begin: what is done before all else, in order.
        end: what is done when nobody has the old shape any more.
        notes: what a person should know before it begins.
    """

    catalogue: Catalogue
    number: str
    version: str
    base: str
    tables: list[TableState] = field(default_factory=list)
    dropped: list[TableState] = field(default_factory=list)
    begin: list[Step] = field(default_factory=list)
    end: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def table(self, name: str) -> TableState:
        """Return a table of the newest shape so far.

        Raises:
            Wrong: there is none of that name.
        """
        found = next((each for each in self.tables if each.name == name), None)
        if found is None:
            raise Wrong(f"no table {name!r} in the schema {self.base}", "a table that is there")
        return found

    def made(self, *parts: str) -> str:
        """Return the name of something that is there as long as there are two versions."""
        return short(f"{PREFIX}{self.number}", *parts)

    def taken(self, name: str) -> bool:
        """Return whether a table, view or index has that name already, and so nothing else can."""
        relations = [each for (schema, _), each in self.catalogue.relations.items() if schema == self.base]
        return any(name == each.name or name in {index.name for index in each.indexes} for each in relations)

    def reshape(
        self, table: TableState, successors: Mapping[ColumnState, ColumnState], downs: Mapping[ColumnState, str]
    ) -> None:
        """Fresh columns have taken the places of others: their names', and those of their rules.

        Args:
            table: of all of them.
            successors: the fresh one, by the one that only old clients have from now on.
            downs: the old one's value where new clients write, over the shape after; left out: the fresh one's value.
        """
        table.columns = [successors.get(each, each) for each in table.columns]
        for column, successor in successors.items():
            column.successor = successor
            column.down = table.formula(downs.get(column) or quoted(successor.name))

    def shadow(self, table: TableState, column: ColumnState, up: str, otherwise: str = "") -> ColumnState:
        """Return a fresh column like one that there is, filled by an expression; it has not yet taken its place."""
        return ColumnState(
            name=column.name,
            type=column.type,
            physical=self.made(column.name),
            fresh=True,
            not_null=column.not_null,
            default=column.view_default if column.view_default is not None else column.default,
            comment=column.comment if column.view_comment is None else column.view_comment,
            collation=column.collation,
            identity=column.identity,
            up=table.formula(up, otherwise),
        )


def first_state(catalogue: Catalogue, number: str, version: str) -> State:
    """Return the state before any operation."""
    base = catalogue.search_path[0] if catalogue.search_path else "public"
    state = State(catalogue, number, version, base)
    kinds = ("table", "partitioned table")
    for (schema, name), relation in sorted(catalogue.relations.items()):
        if schema == base and relation.kind in kinds and relation.parent is None:
            state.tables.append(_table(schema, name, relation))
    by_name = {(each.schema, each.physical): each for each in state.tables}
    for table in state.tables:
        assert table.relation is not None
        for constraint in table.relation.constraints:
            table.rules.append(_rule(table, constraint, by_name))
        for index in table.relation.indexes:
            if not index.constraint:
                table.indexes.append(_index(table, index))
    return state


def _table(schema: str, name: str, relation: Relation) -> TableState:
    columns = [
        ColumnState(
            each.name,
            each.type,
            each.name,
            not_null=each.not_null,
            default=each.default,
            identity=each.identity,
            generated=each.generated,
            comment=each.comment,
            collation=each.collation,
        )
        for each in relation.columns
    ]
    return TableState(name, name, schema, relation, columns, list(columns), comment=relation.comment)


def _rule(table: TableState, found: Constraint, by_name: dict[tuple[str, str], TableState]) -> Rule:
    columns = {name: table.scope()[name] for name in found.columns if name in table.scope()}
    rule = Rule(found.name, found.kind, columns, original=found, comment=found.comment)
    if found.kind == "check":
        rule.text = found.definition
    parts = _REFERENCES.search(found.definition) if found.kind == "foreign key" else None
    if parts is not None:
        rule.text = parts["rest"]
        rule.target_table = by_name.get(found.references) if found.references is not None else None
        if rule.target_table is not None:
            scope = rule.target_table.scope()
            names = [each.strip().strip('"') for each in parts["columns"].split(",")]
            rule.target = [scope[each] for each in names if each in scope]
    return rule


def _index(table: TableState, found: Index) -> IndexState:
    text = behind_table(found.definition)
    columns = {name: table.scope()[name] for name in mentioned(text, table.scope())}
    return IndexState(found.name, found.unique, columns, text, found)


def behind_table(definition: str) -> str:
    """Return what stands behind the table in a CREATE INDEX as PostgreSQL writes it: 'USING btree (name)'."""
    return definition[definition.index(" USING ") + 1 :]


def columns_sql(columns: Iterable[str]) -> str:
    """Return names for SQL, with commas between them."""
    return ", ".join(quoted(each) for each in columns)


def described(columns: Sequence[str]) -> str:
    """Return names for people."""
    return ", ".join(columns)
