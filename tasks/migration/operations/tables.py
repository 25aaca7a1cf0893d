"""Operations on whole tables. Pure."""

from typing import Literal

from pydantic import Field

from tasks.common.model import StrictModel
from tasks.migration.operations.base import (
    SERIAL,
    CheckSpec,
    ColumnSpec,
    ReferenceSpec,
    TableOperation,
    add_check,
    add_reference,
    default_name,
)
from tasks.migration.operations.expressions import Identifier, Sql
from tasks.migration.operations.shape import Rule, State, TableState, Wrong


class NewColumn(ColumnSpec):
    """A column of a table that is made."""

    identity: Literal["always", "by default"] | None = Field(
        default=None, description="whether it counts, and whether clients may give a value of their own ('by default')"
    )
    primary_key: bool = Field(default=False, description="whether it is (part of) the primary key")
    generated: Sql | None = Field(default=None, description="SQL over the other columns that it is computed by")
    references: ReferenceSpec | None = Field(default=None, description="rows of another table that it refers to")


class KeySpec(StrictModel):
    """Columns that are unique together."""

    name: Identifier = Field(description="of the constraint")
    columns: list[Identifier] = Field(min_length=1, description="that are unique together")


class ForeignKeySpec(StrictModel):
    """Columns that refer to rows of another table."""

    name: Identifier = Field(description="of the constraint")
    columns: list[Identifier] = Field(min_length=1, description="that refer")
    references: ReferenceSpec = Field(description="what they refer to")


class ExcludeSpec(StrictModel):
    """Rows that may not be together in the table."""

    name: Identifier = Field(description="of the constraint")
    using: Identifier = Field(default="gist", description="method of its index")
    elements: Sql = Field(description="columns or expressions, each WITH an operator: 'title WITH ='")
    where: Sql | None = Field(default=None, description="SQL condition on the rows that it is about")


class CreateTable(TableOperation):
    """A table is made. Old clients do not see it."""

    operation: Literal["create table"]
    columns: list[NewColumn] = Field(min_length=1, description="its columns, in order")
    comment: str | None = Field(default=None, description="for tools that read the catalogue")
    primary_key: KeySpec | None = Field(default=None, description="primary key under a name of its own")
    unique: list[KeySpec] = Field(default_factory=list, description="columns that are unique together")
    checks: list[CheckSpec] = Field(default_factory=list, description="conditions on its rows")
    exclude: list[ExcludeSpec] = Field(default_factory=list, description="rows that may not be together in it")
    foreign_keys: list[ForeignKeySpec] = Field(default_factory=list, description="references to other tables")

    def apply(self, state: State) -> None:
        """The table is among the new ones."""
        if self.table in {each.name for each in state.tables}:
            raise Wrong(f"a table {self.table!r} already", "another name")
        if state.taken(self.table) and self.table not in {each.physical for each in [*state.tables, *state.dropped]}:
            raise Wrong(f"a view or an index {self.table!r} already", "another name")
        table = TableState(self.table, state.made(self.table), state.base, comment=self.comment or "")
        for spec in self.columns:
            table.require_free(spec.name)
            column = spec.made(spec.name, fresh=True)
            column.identity, column.generated = spec.identity or "", spec.generated or ""
            column.not_null = spec.not_null or spec.primary_key or spec.type.lower() in SERIAL
            table.columns.append(column)
        state.tables.append(table)
        self._key(table)
        for spec in self.columns:
            spec.add_rules(table)
            if spec.references is not None:
                name = default_name(self.table, [spec.name], "fkey")
                add_reference(state, table, name, [spec.name], spec.references)
        for key in self.unique:
            table.require_no_rule(key.name)
            table.rules.append(Rule(key.name, "unique", {each: table.column(each) for each in key.columns}))
        for check in self.checks:
            add_check(table, check)
        for exclude in self.exclude:
            table.require_no_rule(exclude.name)
            where = f" WHERE ({exclude.where})" if exclude.where else ""
            text = f"EXCLUDE USING {exclude.using} ({exclude.elements}){where}"
            table.rules.append(Rule(exclude.name, "exclude", dict(table.formula(text).mentions()), text))
        for foreign in self.foreign_keys:
            add_reference(state, table, foreign.name, foreign.columns, foreign.references)

    def _key(self, table: TableState) -> None:
        columns = [each.name for each in self.columns if each.primary_key]
        if self.primary_key is not None and columns:
            raise Wrong("a primary key beside columns that are one", "one of both")
        if self.primary_key is not None:
            columns, name = self.primary_key.columns, self.primary_key.name
        else:
            name = default_name(self.table, [], "pkey")
        if columns:
            table.rules.append(Rule(name, "primary key", {each: table.column(each) for each in columns}))
            for each in columns:
                table.column(each).not_null = True


class DropTable(TableOperation):
    """A table goes: new clients do not see it; it is dropped with its rows when nobody has the old shape any more."""

    operation: Literal["drop table"]

    def apply(self, state: State) -> None:
        """The table is none of the new ones."""
        table = state.table(self.table)
        state.tables.remove(table)
        if not table.created:
            state.dropped.append(table)
            state.notes.append(f"the table {table.physical} is dropped with its rows in cleanup")


class RenameTable(TableOperation):
    """A table has another name. Both names reach the same rows until the old shape goes."""

    operation: Literal["rename table"]
    to: Identifier = Field(description="its new name")

    def apply(self, state: State) -> None:
        """The table has its new name."""
        table = state.table(self.table)
        if self.to in {each.name for each in state.tables}:
            raise Wrong(f"a table {self.to!r} already", "another name")
        if state.taken(self.to) and self.to not in {each.physical for each in [*state.tables, *state.dropped]}:
            raise Wrong(f"a view or an index {self.to!r} already", "another name")
        table.name = self.to


class SetTableComment(TableOperation):
    """A table has another comment, or none."""

    operation: Literal["set table comment"]
    comment: str | None = Field(description="for tools that read the catalogue; null for none")

    def apply(self, state: State) -> None:
        """New clients see the comment."""
        table = state.table(self.table)
        if table.created:
            table.comment = self.comment or ""
        else:
            table.view_comment = self.comment or ""
