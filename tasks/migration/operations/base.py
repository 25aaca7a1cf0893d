"""What all operations have, and how columns and references are written down. Pure."""

from abc import ABC, abstractmethod
from typing import Literal

from pydantic import Field

from tasks.common.model import StrictModel
from tasks.migration.operations.expressions import Identifier, Sql, SqlType, short
from tasks.migration.operations.shape import ColumnState, Rule, State, TableState, Wrong

Action = Literal["no action", "restrict", "cascade", "set null", "set default"]
SERIAL = {"serial": "integer", "bigserial": "bigint", "smallserial": "smallint"}
"""Types of columns that count, and the type that their values have."""


class Operation(StrictModel, ABC):
    """One entry of `operations:`."""

    @abstractmethod
    def apply(self, state: State) -> None:
        """The state is what it is after this operation.

        Raises:
            Wrong: it does not fit what is there.
        """


class TableOperation(Operation):
    """An operation on one table."""

    table: Identifier = Field(description="the table, by the name that it has after the operations before")


class CheckSpec(StrictModel):
    """A condition that every row meets."""

    name: Identifier = Field(description="of the constraint")
    condition: Sql = Field(description="SQL over the columns; NULL counts as met")


class ReferenceSpec(StrictModel):
    """Rows of another table that are referred to."""

    table: Identifier = Field(description="that is referred to")
    columns: list[Identifier] = Field(min_length=1, description="of that table: its primary key, or unique")
    on_delete: Action = Field(default="no action", description="what a delete of the row referred to does")
    on_update: Action = Field(default="no action", description="what a change of its key does")

    def text(self) -> str:
        """Return what stands behind the other table's columns."""
        return f" ON UPDATE {self.on_update.upper()} ON DELETE {self.on_delete.upper()}"


class ColumnSpec(StrictModel):
    """A column that is made."""

    name: Identifier = Field(description="of the column")
    type: SqlType
    not_null: bool = Field(default=False, description="whether it never is NULL")
    default: Sql | None = Field(default=None, description="SQL for rows that leave it out: \"'paper'\", 'now()'")
    comment: str | None = Field(default=None, description="for tools that read the catalogue")
    check: CheckSpec | None = Field(default=None, description="a condition on it")
    unique: Identifier | None = Field(default=None, description="name of a constraint that keeps it unique")

    def made(self, physical: str, *, fresh: bool) -> ColumnState:
        """Return the column."""
        return ColumnState(
            name=self.name,
            type=self.type,
            physical=physical,
            fresh=fresh,
            not_null=self.not_null,
            default=self.default or "",
            comment=self.comment or "",
        )

    def add_rules(self, table: TableState) -> None:
        """The table has the column's constraints; the column itself is there already.

        Raises:
            Wrong: a name is taken.
        """
        if self.check is not None:
            add_check(table, self.check)
        if self.unique is not None:
            table.require_no_rule(self.unique)
            table.rules.append(Rule(self.unique, "unique", {self.name: table.column(self.name)}))


def add_check(table: TableState, check: CheckSpec) -> None:
    """The table has a check.

    Raises:
        Wrong: its name is taken.
    """
    table.require_no_rule(check.name)
    formula = table.formula(check.condition)
    table.rules.append(Rule(check.name, "check", dict(formula.mentions()), check.condition))


def add_reference(state: State, table: TableState, name: str, columns: list[str], to: ReferenceSpec) -> None:
    """The table has a foreign key.

    Raises:
        Wrong: a name is taken, or what is referred to is not there or not unique.
    """
    table.require_no_rule(name)
    other = state.table(to.table)
    target = [other.column(each) for each in to.columns]
    if len(target) != len(columns):
        raise Wrong(f"{len(columns)} columns that refer to {len(target)}", "as many on both sides")
    keys = [set(each.columns.values()) for each in other.rules if each.kind in ("primary key", "unique")]
    keys += [set(each.columns.values()) for each in other.indexes if each.unique]
    if set(target) not in keys:
        raise Wrong(f"{', '.join(to.columns)} of {to.table}, which is not unique", "a primary key, or unique columns")
    mine = {each: table.column(each) for each in columns}
    table.rules.append(Rule(name, "foreign key", mine, to.text(), target=target, target_table=other))


def default_name(table: str, columns: list[str], kind: str) -> str:
    """Return a constraint's name as PostgreSQL would make it up: 'users_name_key'."""
    return short(table, *columns, kind)
