"""Operations on what values may be: NOT NULL, defaults, comments, constraints, indexes. Pure."""

from typing import Literal

from pydantic import Field

from tasks.migration.model import quoted
from tasks.migration.operations.base import (
    CheckSpec,
    ReferenceSpec,
    TableOperation,
    add_check,
    add_reference,
)
from tasks.migration.operations.columns import ColumnOperation
from tasks.migration.operations.expressions import Identifier, Sql, mentioned
from tasks.migration.operations.shape import (
    ColumnState,
    IndexState,
    Rule,
    State,
    TableState,
    Wrong,
    columns_sql,
)

_HELD = "old clients are held to it as well, from {phase} on"


class SetNotNull(ColumnOperation):
    """A column is never NULL for new clients. With `up`, old ones may go on to store NULL."""

    operation: Literal["set not null"]
    up: Sql | None = Field(default=None, description="SQL over the columns: what new clients see; never NULL")
    down: Sql | None = Field(default=None, description="SQL: what old clients see of what new ones write")

    def apply(self, state: State) -> None:
        """New clients cannot store NULL."""
        table = state.table(self.table)
        column = table.column(self.column)
        if column.not_null:
            raise Wrong(f"{self.table}.{self.column}, which is never NULL already", "a column that may be NULL")
        if self.up is not None and not table.created:
            (column,) = shadows(state, table, {self.column: self.up}, {self.column: self.down})
        elif not column.fresh:
            held = _HELD.format(phase="prepare")
            state.notes.append(f"{self.table}.{self.column} is never NULL, without 'up': {held}")
        column.not_null = True


class DropNotNull(ColumnOperation):
    """A column may be NULL for new clients. With `down`, from the beginning; else when the old shape goes."""

    operation: Literal["drop not null"]
    down: Sql | None = Field(default=None, description="SQL: what old clients see in the place of NULL; never NULL")

    def apply(self, state: State) -> None:
        """New clients can store NULL."""
        table = state.table(self.table)
        column = table.column(self.column)
        if not column.not_null:
            raise Wrong(f"{self.table}.{self.column}, which may be NULL already", "a column that is never NULL")
        if any(each.kind == "primary key" and column in each.columns.values() for each in table.rules):
            raise Wrong(f"{self.table}.{self.column}, which is in the primary key", "a column that is not")
        if column.fresh:
            column.not_null = False
        elif self.down is None:
            column.loosened = True
            state.notes.append(f"new clients can store NULL in {self.table}.{self.column} from cleanup on: no 'down'")
        else:
            (made,) = shadows(state, table, {self.column: quoted(self.column)}, {self.column: self.down})
            made.not_null = False


class SetDefault(ColumnOperation):
    """A column has another default for new clients; old ones keep theirs until the old shape goes."""

    operation: Literal["set default"]
    default: Sql = Field(description="SQL for rows that leave it out: \"'paper'\", 'now()'")

    def apply(self, state: State) -> None:
        """New clients have the default."""
        _set_default(state.table(self.table).column(self.column), self.default)


class DropDefault(ColumnOperation):
    """A column has no default for new clients; old ones keep theirs until the old shape goes."""

    operation: Literal["drop default"]

    def apply(self, state: State) -> None:
        """New clients have no default."""
        _set_default(state.table(self.table).column(self.column), "")


class SetComment(ColumnOperation):
    """A column has another comment, or none."""

    operation: Literal["set comment"]
    comment: str | None = Field(description="for tools that read the catalogue; null for none")

    def apply(self, state: State) -> None:
        """New clients see the comment."""
        column = state.table(self.table).column(self.column)
        if column.fresh:
            column.comment = self.comment or ""
        else:
            column.view_comment = self.comment or ""


class _Rewriting(TableOperation):
    up: dict[Identifier, Sql] = Field(
        default_factory=dict, description="SQL by column: what new clients see; old ones are then not held to the rule"
    )
    down: dict[Identifier, Sql] = Field(
        default_factory=dict, description="SQL by column: what old clients see of what new ones write"
    )


class AddCheck(_Rewriting):
    """Every row meets a condition for new clients. With `up`, old ones may go on to store what they stored."""

    operation: Literal["add check"]
    name: Identifier = Field(description="of the constraint")
    condition: Sql = Field(description="SQL over the columns; NULL counts as met")

    def apply(self, state: State) -> None:
        """New clients are held to it."""
        table = state.table(self.table)
        table.require_no_rule(self.name)
        _convert(state, table, self.up, self.down, f"the check {self.name}", "prepare")
        add_check(table, CheckSpec(name=self.name, condition=self.condition))


class AddForeignKey(_Rewriting):
    """Columns refer to rows of another table. With `up`, old clients may go on to store what they stored."""

    operation: Literal["add foreign key"]
    name: Identifier = Field(description="of the constraint")
    columns: list[Identifier] = Field(min_length=1, description="that refer")
    references: ReferenceSpec = Field(description="what they refer to")

    def apply(self, state: State) -> None:
        """New clients are held to it."""
        table = state.table(self.table)
        table.require_no_rule(self.name)
        _convert(state, table, self.up, self.down, f"the foreign key {self.name}", "prepare")
        add_reference(state, table, self.name, self.columns, self.references)


class AddUnique(_Rewriting):
    """No two rows are alike in some columns."""

    operation: Literal["add unique"]
    name: Identifier = Field(description="of the constraint")
    columns: list[Identifier] = Field(min_length=1, description="that are unique together")

    def apply(self, state: State) -> None:
        """New clients are held to it."""
        table = state.table(self.table)
        table.require_no_rule(self.name)
        _convert(state, table, self.up, self.down, f"the unique constraint {self.name}", "execute")
        table.rules.append(Rule(self.name, "unique", {each: table.column(each) for each in self.columns}))


class ChangePrimaryKey(TableOperation):
    """Rows are known by other columns."""

    operation: Literal["change primary key"]
    columns: list[Identifier] = Field(min_length=1, description="of the new key; never NULL")
    name: Identifier | None = Field(default=None, description="of the constraint; the old one's where it is left out")

    def apply(self, state: State) -> None:
        """The table has another primary key."""
        table = state.table(self.table)
        columns = {each: table.column(each) for each in self.columns}
        loose = [name for name, each in columns.items() if not each.not_null]
        if loose:
            raise Wrong(f"{', '.join(loose)}, which may be NULL", "columns that never are: 'set not null' before")
        old = next((each for each in table.rules if each.kind == "primary key"), None)
        if old is not None:
            users = _users(state, table, old)
            if users:
                raise Wrong(f"foreign keys that need the old one: {', '.join(users)}", "them dropped before")
            table.rules.remove(old)
            table.gone_rules.append(old)
        name = self.name or (old.name if old is not None else f"{table.name}_pkey")
        table.rules.append(Rule(name, "primary key", columns))
        held = _HELD.format(phase="execute")
        state.notes.append(f"the primary key {', '.join(self.columns)} of {table.name}: {held}")


class DropConstraint(TableOperation):
    """A constraint goes. With `down`, new clients are free of it at once; else when the old shape goes."""

    operation: Literal["drop constraint"]
    name: Identifier = Field(description="of the constraint")
    up: dict[Identifier, Sql] = Field(default_factory=dict, description="SQL by column: what new clients see")
    down: dict[Identifier, Sql] = Field(
        default_factory=dict,
        description="SQL by column of the constraint: what old clients see of what new ones write; it keeps their rule",
    )

    def apply(self, state: State) -> None:
        """New clients are free of it."""
        table = state.table(self.table)
        rule = constraint(table, self.name)
        users = _users(state, table, rule)
        if users:
            raise Wrong(f"foreign keys that need it: {', '.join(users)}", "them dropped before")
        held = {each.newest() for each in rule.columns.values()}
        if self.down and {table.column(each) for each in self.down} != held:
            raise Wrong("'down' for some of its columns", f"one for each of: {', '.join(each.name for each in held)}")
        table.rules.remove(rule)
        if rule.original is not None:
            table.gone_rules.append(rule)
        if self.down and not table.created:
            shadows(state, table, {each: self.up.get(each, quoted(each)) for each in self.down}, dict(self.down))
        elif not table.created:
            state.notes.append(f"new clients are free of {self.name} from cleanup on: no 'down'")


class RenameConstraint(TableOperation):
    """A constraint has another name, from the end of the old shape on."""

    operation: Literal["rename constraint"]
    name: Identifier = Field(description="of the constraint")
    to: Identifier = Field(description="its new name")

    def apply(self, state: State) -> None:
        """It has its new name."""
        table = state.table(self.table)
        rule = constraint(table, self.name)
        table.require_no_rule(self.to)
        rule.name = self.to


class AddIndex(TableOperation):
    """An index is built, without blocking writers."""

    operation: Literal["add index"]
    name: Identifier = Field(description="of the index")
    columns: list[Identifier] | dict[Identifier, Sql | None] = Field(
        min_length=1,
        description="its columns; as a mapping, each with what follows it: 'text_pattern_ops', 'desc nulls last'",
    )
    unique: bool = Field(default=False, description="whether no two rows may be alike in it")
    method: Identifier = Field(default="btree", description="'btree', 'hash', 'gin', 'gist', 'brin' ...")
    storage: dict[Identifier, Sql] = Field(default_factory=dict, description="storage settings: fillfactor: '70'")
    include: list[Identifier] = Field(default_factory=list, description="columns that are stored with it, no key")
    where: Sql | None = Field(default=None, description="SQL condition on the rows that are in it")

    def apply(self, state: State) -> None:
        """The index is there."""
        table = state.table(self.table)
        names = {each.name for every in state.tables for each in every.indexes}
        names |= {each.name for every in state.tables for each in every.rules}
        gone = {each.name for every in [*state.tables, *state.dropped] for each in every.gone_indexes}
        if self.name in names or (state.taken(self.name) and self.name not in gone):
            raise Wrong(f"something of the name {self.name!r} already", "another name")
        for each in (*self.columns, *self.include):
            table.column(each)
        text = self._text()
        columns = {name: table.scope()[name] for name in mentioned(text, table.scope())}
        table.indexes.append(IndexState(self.name, self.unique, columns, text))
        if self.unique and not table.created:
            held = _HELD.format(phase="execute")
            state.notes.append(f"the unique index {self.name}: {held}")

    def _text(self) -> str:
        keys: dict[str, str | None] = self.columns if isinstance(self.columns, dict) else dict.fromkeys(self.columns)
        elements = ", ".join(f"{quoted(name)} {rest}" if rest else quoted(name) for name, rest in keys.items())
        text = f"USING {quoted(self.method)} ({elements})"
        text += f" INCLUDE ({columns_sql(self.include)})" if self.include else ""
        storage = ", ".join(f"{name} = {value}" for name, value in self.storage.items())
        text += f" WITH ({storage})" if storage else ""
        return text + (f" WHERE ({self.where})" if self.where else "")


class DropIndex(TableOperation):
    """An index goes, when nobody has the old shape any more."""

    operation: Literal["drop index"]
    name: Identifier = Field(description="of the index")

    def apply(self, state: State) -> None:
        """The index is none of the new ones."""
        table = state.table(self.table)
        found = next((each for each in table.indexes if each.name == self.name), None)
        if found is None:
            of_rule = self.name in {each.name for each in table.rules}
            expected = "'drop constraint': it belongs to one" if of_rule else "an index of this table"
            raise Wrong(f"no index {self.name!r} of {table.name}", expected)
        table.indexes.remove(found)
        if found.original is not None:
            table.gone_indexes.append(found)


def constraint(table: TableState, name: str) -> Rule:
    """Return a constraint of the newest shape so far.

    Raises:
        Wrong: there is none of that name.
    """
    found = next((each for each in table.rules if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in table.rules) or "none"
        raise Wrong(f"no constraint {name!r} of {table.name}", f"one of: {known}")
    return found


def shadows(
    state: State, table: TableState, up: dict[str, str], down: dict[str, str | None] | dict[str, str]
) -> list[ColumnState]:
    """Fresh columns, like those that they replace, have taken their places; returns them.

    Raises:
        Wrong: there is no such column.
    """
    made = {table.column(name): state.shadow(table, table.column(name), text) for name, text in up.items()}
    downs = {table.column(name): text for name, text in down.items() if text is not None}
    state.reshape(table, made, downs)
    return list(made.values())


def _convert(state: State, table: TableState, up: dict[str, str], down: dict[str, str], what: str, phase: str) -> None:
    if table.created:
        return
    if not up:
        if down:
            raise Wrong("'down' without 'up'", "both, or neither")
        state.notes.append(f"{what} of {table.name}, without 'up': {_HELD.format(phase=phase)}")
        return
    stray = [each for each in down if each not in up]
    if stray:
        raise Wrong(f"'down' for {', '.join(stray)}, without 'up'", "both")
    shadows(state, table, up, down)


def _set_default(column: ColumnState, default: str) -> None:
    if column.fresh:
        column.default = default
    else:
        column.view_default = default


def _users(state: State, table: TableState, rule: Rule) -> list[str]:
    """Return the foreign keys that refer to what a constraint keeps unique."""
    if rule.kind not in ("primary key", "unique"):
        return []
    mine = {each.newest() for each in rule.columns.values()}
    others = [
        {each.newest() for each in other.columns.values()}
        for other in table.rules
        if other is not rule and other.kind in ("primary key", "unique")
    ]
    if mine in others:
        return []
    return sorted(
        each.name
        for every in state.tables
        for each in every.rules
        if each.target_table is table and {one.newest() for one in each.target} == mine
    )
