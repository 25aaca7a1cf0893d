"""Operations that add, drop, rename and re-type columns. Pure."""

from typing import Literal

from pydantic import Field

from tasks.common.model import StrictModel
from tasks.migration.model import quoted
from tasks.migration.operations.base import SERIAL, ColumnSpec, TableOperation
from tasks.migration.operations.expressions import Identifier, Sql, SqlType, mentioned, renamed
from tasks.migration.operations.shape import ColumnState, State, TableState, Wrong


class ColumnOperation(TableOperation):
    """An operation on one column."""

    column: Identifier = Field(description="the column, by the name that it has after the operations before")


class AddColumn(TableOperation):
    """A column is added. Old clients know nothing of it; `up`, else the default, fills rows that they write."""

    operation: Literal["add column"]
    column: ColumnSpec = Field(description="the column")
    up: Sql | None = Field(default=None, description="SQL over the other columns: its value in rows without one")

    def apply(self, state: State) -> None:
        """New clients have the column."""
        table, spec = state.table(self.table), self.column
        table.require_free(spec.name)
        if spec.type.lower() in SERIAL:
            raise Wrong(f"the type {spec.type}", "a plain type; a column that counts can be had with a new table only")
        if spec.not_null and spec.default is None and self.up is None and not table.created:
            raise Wrong("a column that is never NULL, and nothing to fill it with", "'up', or a default")
        made = spec.made(spec.name if table.created else state.made(spec.name), fresh=True)
        made.up = table.formula(self.up) if self.up is not None and not table.created else None
        table.columns.append(made)
        spec.add_rules(table)


class DropColumn(ColumnOperation):
    """A column goes: new clients do not see it, and it is dropped when nobody has the old shape any more."""

    operation: Literal["drop column"]
    down: Sql | None = Field(
        default=None, description="SQL over the other columns: what old clients see in rows that new ones write"
    )

    def apply(self, state: State) -> None:
        """New clients do not have the column."""
        table = state.table(self.table)
        column = table.column(self.column)
        drop(state, table, column, self.down)


class RenameColumn(ColumnOperation):
    """A column has another name. Both names reach the same values until the old shape goes."""

    operation: Literal["rename column"]
    to: Identifier = Field(description="its new name")

    def apply(self, state: State) -> None:
        """The column has its new name."""
        table = state.table(self.table)
        column = table.column(self.column)
        table.require_free(self.to)
        column.name = self.to
        if table.created:
            _rename_in_created(table, column, self.column)


class ChangeType(ColumnOperation):
    """A column has another type. Each side reads what the other writes in its own type."""

    operation: Literal["change type"]
    type: SqlType
    up: Sql | None = Field(default=None, description="SQL from the old value to the new; a cast where it is left out")
    down: Sql | None = Field(default=None, description="SQL from the new value to the old; a cast where it is left out")
    otherwise: Sql | None = Field(
        default=None,
        description="SQL for old values that 'up' cannot convert; without it, old clients are refused such values",
    )
    default: Sql | None = Field(default=None, description="new default; the old one is converted where it is left out")

    def apply(self, state: State) -> None:
        """New clients have the column in its new type."""
        table = state.table(self.table)
        column = table.column(self.column)
        if table.created:
            column.type, column.default = self.type, self.default or column.default
            return
        name = quoted(column.name)
        up = self.up or f"CAST({name} AS {self.type})"
        made = state.shadow(table, column, up, self.otherwise or "")
        made.type, made.collation = self.type, ""
        made.default = self.default or self._default(column, made.default, up)
        if self.otherwise is None:
            state.notes.append(
                f"values of {table.name}.{column.name} that '{up}' cannot convert are refused, to old clients also"
            )
        else:
            state.notes.append(
                f"values of {table.name}.{column.name} that '{up}' cannot convert are {self.otherwise} for new clients"
            )
        state.reshape(table, {column: made}, {column: self.down or f"CAST({name} AS {column.type})"})

    def _default(self, column: ColumnState, default: str, up: str) -> str:
        """Return the default converted, which only an expression over this column alone allows."""
        if not default:
            return ""
        made = renamed(up, {column.name: f"({default})"})
        if mentioned(made, {column.name}) or "select" in up.lower():
            raise Wrong(f"the default {default}, which '{up}' cannot be applied to", "'default' for the new type")
        return made


class SplitColumn(ColumnOperation):
    """A column has become several. Each side's writes reach the other."""

    operation: Literal["split column"]
    into: dict[Identifier, "PartSpec"] = Field(min_length=2, description="the columns that it becomes, by name")
    down: Sql = Field(description="SQL over them: what old clients see")

    def apply(self, state: State) -> None:
        """New clients have the columns in its place."""
        table = state.table(self.table)
        column = table.column(self.column)
        made = [part.column(state, table, name) for name, part in self.into.items()]
        position = table.columns.index(column)
        table.columns[position : position + 1] = made
        _require_once(table)
        column.down = table.formula(self.down)


class MergeColumns(TableOperation):
    """Several columns have become one. Each side's writes reach the other."""

    operation: Literal["merge columns"]
    columns: dict[Identifier, Sql] = Field(
        min_length=2, description="the columns, each with SQL over the new one: what old clients see"
    )
    into: Identifier = Field(description="name of the column that they become")
    type: SqlType
    up: Sql = Field(description="SQL over them: what new clients see")
    not_null: bool = Field(default=False, description="whether it never is NULL")

    def apply(self, state: State) -> None:
        """New clients have the column in their place."""
        table = state.table(self.table)
        old = [table.column(each) for each in self.columns]
        part = PartSpec(type=self.type, up=self.up, not_null=self.not_null)
        made = part.column(state, table, self.into)
        position = table.columns.index(old[0])
        table.columns = [each for each in table.columns if each not in old]
        table.columns.insert(min(position, len(table.columns)), made)
        _require_once(table)
        for column, down in zip(old, self.columns.values(), strict=True):
            column.down = table.formula(down)


class StringToArray(ColumnOperation):
    """A text has become a list of texts: users.role has become users.roles."""

    operation: Literal["string to array"]
    to: Identifier = Field(description="name of the list")
    separator: str | None = Field(
        default=None, min_length=1, description="what stands between texts of the old column; without it, it holds one"
    )
    empty: Sql | None = Field(default=None, description="SQL: what old clients see where a new one stores no text")

    def apply(self, state: State) -> None:
        """New clients have the list in the text's place."""
        table = state.table(self.table)
        column = table.column(self.column)
        old, new = quoted(column.name), quoted(self.to)
        if self.separator is None:
            up, down = f"CASE WHEN {old} IS NOT NULL THEN ARRAY[{old}] END", f"{new}[1]"
        else:
            mark = "'" + self.separator.replace("'", "''") + "'"
            up, down = f"string_to_array({old}, {mark})", f"nullif(array_to_string({new}, {mark}), '')"
        down = f"coalesce({down}, {self.empty})" if self.empty else down
        if column.not_null and self.empty is None:
            state.notes.append(f"new clients are refused an empty {self.to}, as long as old ones have {column.name}")
        self._replace(state, table, column, up, down)

    def _replace(self, state: State, table: TableState, column: ColumnState, up: str, down: str) -> None:
        if self.to != column.name:
            table.require_free(self.to)
        part = PartSpec(type=f"{column.type}[]", up=up, not_null=column.not_null)
        made = part.column(state, table, self.to)
        made.comment = column.comment
        table.columns[table.columns.index(column)] = made
        column.down = table.formula(down)


class PartSpec(StrictModel):
    """A column that takes its values from others."""

    type: SqlType
    up: Sql = Field(description="SQL over the columns before: its value")
    not_null: bool = Field(default=False, description="whether it never is NULL")
    default: Sql | None = Field(default=None, description="SQL for rows of new clients that leave it out")
    comment: str | None = Field(default=None, description="for tools that read the catalogue")

    def column(self, state: State, table: TableState, name: str) -> ColumnState:
        """Return it, fresh; it has no place yet."""
        if table.created:
            raise Wrong(f"{table.name}, which this migration makes", "the columns in their last shape there")
        return ColumnState(
            name=name,
            type=self.type,
            physical=state.made(name),
            fresh=True,
            not_null=self.not_null,
            default=self.default or "",
            comment=self.comment or "",
            up=table.formula(self.up),
        )


def drop(state: State, table: TableState, column: ColumnState, down: str | None) -> None:
    """New clients do not have a column.

    Raises:
        Wrong: new clients could store no row, as old ones need a value.
    """
    table.columns.remove(column)
    if table.created:
        return
    needs = column.not_null and not (column.default or column.identity or column.generated)
    if needs and down is None and not column.fresh:
        raise Wrong(
            f"{table.name}.{column.name}, which is never NULL and has no default",
            "'down': what old clients see in rows that new ones write",
        )
    if down is not None:
        column.down = table.formula(down)
    state.notes.append(f"{table.physical}.{column.physical} is dropped with its values in cleanup")


def _require_once(table: TableState) -> None:
    names = [each.name for each in table.columns]
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise Wrong(f"a column {twice[0]!r} in {table.name} already", "another name")


def _rename_in_created(table: TableState, column: ColumnState, before: str) -> None:
    """A table that this migration makes has the column under its new name everywhere."""
    column.physical = column.name
    for rule in table.rules:
        if before in rule.columns and rule.columns[before] is column:
            rule.text = renamed(rule.text, {before: quoted(column.name)})
            rule.columns = {each.name: each for each in rule.columns.values()}


SplitColumn.model_rebuild()
