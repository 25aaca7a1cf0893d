"""Suites of expectations: what a table must look like, in files next to the service (`expectations/*.yaml`).

The types are those of Great Expectations, by their names in snake case. A type that is not here can be added as one
model: what it takes and what it refuses is known before any database is asked.

*Source:* great-expectations 1.24, `great_expectations/expectations/core/` (names and arguments).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.common.model import Problem, StrictModel, refuse
from tasks.common.units import COLUMN_PATTERN, MOMENT_PATTERN, TABLE_PATTERN, Percent, PositiveDuration

Severity = Literal["critical", "warning"]
TableName = Annotated[str, Field(pattern=TABLE_PATTERN)]
Column = Annotated[str, Field(pattern=COLUMN_PATTERN)]
Moment = Annotated[str, Field(pattern=MOMENT_PATTERN)]
Limit = int | float | Moment
Value = bool | int | float | str

MOST_KEYS = 20
"""So many failing rows are named by their keys."""
_WHOLE_PERCENT = 100.0
_WHY = "what it protects, for whoever reads the report"
_FIRST_OPEN = "the smallest value itself is not allowed"
_LAST_OPEN = "the largest value itself is not allowed"


class _Expectation(StrictModel):
    """What all expectations have."""

    severity: Severity = Field(default="critical", description="critical: the verification fails; warning: it is told")
    why: str = Field(default="", description=_WHY)

    @property
    def arguments(self) -> dict[str, Any]:
        """Return what Great Expectations is given, shares as numbers from 0 to 1."""
        given = self.model_dump(exclude={"type", "severity", "why"}, exclude_none=True)
        return {name: _share(value) if name in self.shares() else value for name, value in given.items()}

    @classmethod
    def shares(cls) -> frozenset[str]:
        """Return which arguments are written in per cent."""
        return frozenset({"mostly"})

    @property
    def about(self) -> str:
        """Return the columns that it is about; '' for the whole table."""
        given = self.model_dump()
        if "column" in given:
            return str(given["column"])
        pair = [given[name] for name in ("column_A", "column_B") if name in given]
        return ", ".join(pair or given.get("column_list", ()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that must be there for it to be evaluated."""
        return tuple(self.about.split(", ")) if self.about else ()


def _share(percent: Any) -> Any:
    return percent / _WHOLE_PERCENT if percent is not None else None


class _OfColumn(_Expectation):
    column: Column = Field(description="the column")


class _OfRows(_OfColumn):
    mostly: Percent = Field(
        default=_WHOLE_PERCENT, gt=0, description="share of the rows that must hold; NULL counts only for NULL checks"
    )


class _Limits(StrictModel):
    """Limits of which at least one is given."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        low, high = getattr(self, "min_value", None), getattr(self, "max_value", None)
        if low is None and high is None:
            refuse("limits", [Problem((), "no limit", "min_value, max_value or both")])
        if isinstance(low, str) != isinstance(high, str) and None not in (low, high):
            refuse("limits", [Problem((), f"{low} and {high}", "two numbers, or two moments")])
        if low is not None and high is not None and low > high:
            refuse("limits", [Problem(("max_value",), f"{high}, below min_value {low}", "at least min_value")])
        return self


class ColumnThere(_OfColumn):
    """The column exists."""

    type: Literal["expect_column_to_exist"] = Field(description="the type")


class Nulls(_OfRows):
    """Rows have a value, or have none."""

    type: Literal["expect_column_values_to_not_be_null", "expect_column_values_to_be_null"] = Field(
        description="the type"
    )


class Unique(_OfRows):
    """No value stands twice; NULL is not counted."""

    type: Literal["expect_column_values_to_be_unique"] = Field(description="the type")


class CompoundUnique(_Expectation):
    """No combination of values stands twice."""

    type: Literal["expect_compound_columns_to_be_unique"] = Field(description="the type")
    column_list: list[Column] = Field(min_length=2, description="the columns")


class InSet(_OfRows):
    """Each value is one of a set, or none of it."""

    type: Literal["expect_column_values_to_be_in_set", "expect_column_values_to_not_be_in_set"] = Field(
        description="the type"
    )
    value_set: list[Value] = Field(min_length=1, description="the values")


class Between(_OfRows, _Limits):
    """Each value lies between limits: numbers, or moments such as 2024-01-31 and 2024-01-31T10:00:00Z."""

    type: Literal["expect_column_values_to_be_between"] = Field(description="the type")
    min_value: Limit | None = Field(default=None, description="smallest value")
    max_value: Limit | None = Field(default=None, description="largest value")
    strict_min: bool = Field(default=False, description=_FIRST_OPEN)
    strict_max: bool = Field(default=False, description=_LAST_OPEN)


class Regex(_OfRows):
    """Each value matches a regular expression (PostgreSQL's own, case-sensitive), or does not."""

    type: Literal["expect_column_values_to_match_regex", "expect_column_values_to_not_match_regex"] = Field(
        description="the type"
    )
    regex: str = Field(min_length=1, description="the regular expression; anchor it with ^ and $")


class Lengths(_OfRows, _Limits):
    """Each text is so long, in characters."""

    type: Literal["expect_column_value_lengths_to_be_between"] = Field(description="the type")
    min_value: int | None = Field(default=None, ge=0, description="characters of the shortest")
    max_value: int | None = Field(default=None, ge=0, description="characters of the longest")


class Figure(_OfColumn, _Limits):
    """A figure of the whole column lies between limits."""

    type: Literal[
        "expect_column_min_to_be_between",
        "expect_column_max_to_be_between",
        "expect_column_mean_to_be_between",
        "expect_column_median_to_be_between",
        "expect_column_sum_to_be_between",
        "expect_column_stdev_to_be_between",
        "expect_column_unique_value_count_to_be_between",
    ] = Field(description="the type")
    min_value: Limit | None = Field(default=None, description="smallest value of the figure")
    max_value: Limit | None = Field(default=None, description="largest value of the figure")


class Proportion(_OfColumn, _Limits):
    """A share of the column's values lies between limits."""

    type: Literal[
        "expect_column_proportion_of_unique_values_to_be_between",
        "expect_column_proportion_of_non_null_values_to_be_between",
    ] = Field(description="the type")
    min_value: Percent | None = Field(default=None, description="smallest share")
    max_value: Percent | None = Field(default=None, description="largest share")

    @classmethod
    def shares(cls) -> frozenset[str]:
        """Return which arguments are written in per cent."""
        return frozenset({"min_value", "max_value"})


class Distinct(_OfColumn):
    """The different values of the column are those of a set, or all in it, or hold all of it."""

    type: Literal[
        "expect_column_distinct_values_to_be_in_set",
        "expect_column_distinct_values_to_equal_set",
        "expect_column_distinct_values_to_contain_set",
    ] = Field(description="the type")
    value_set: list[Value] = Field(min_length=1, description="the values")


class Pair(_Expectation):
    """In each row the first column's value is greater than the second's."""

    type: Literal["expect_column_pair_values_a_to_be_greater_than_b"] = Field(description="the type")
    column_A: Column = Field(description="the column with the greater value")  # noqa: N815 - the library's name
    column_B: Column = Field(description="the column with the smaller value")  # noqa: N815 - the library's name
    or_equal: bool = Field(default=False, description="equal values are allowed")
    mostly: Percent = Field(default=_WHOLE_PERCENT, gt=0, description="share of the rows that must hold")
    ignore_row_if: Literal["both_values_are_missing", "either_value_is_missing", "neither"] = Field(
        default="either_value_is_missing", description="rows that are not looked at"
    )


class RowCount(_Expectation, _Limits):
    """The table has so many rows."""

    type: Literal["expect_table_row_count_to_be_between"] = Field(description="the type")
    min_value: int | None = Field(default=None, ge=0, description="fewest rows")
    max_value: int | None = Field(default=None, ge=0, description="most rows")


class RowCountEqual(_Expectation):
    """The table has exactly so many rows."""

    type: Literal["expect_table_row_count_to_equal"] = Field(description="the type")
    value: int = Field(ge=0, description="number of rows")


class Columns(_Expectation):
    """The table has these columns."""

    type: Literal["expect_table_columns_to_match_set"] = Field(description="the type")
    column_set: list[Column] = Field(min_length=1, description="the columns")
    exact_match: bool = Field(default=True, description="and no others")


Expectation = (
    ColumnThere
    | Nulls
    | Unique
    | CompoundUnique
    | InSet
    | Between
    | Regex
    | Lengths
    | Figure
    | Proportion
    | Distinct
    | Pair
    | RowCount
    | RowCountEqual
    | Columns
)
OfTable = (RowCount, RowCountEqual, Columns, ColumnThere)
"""Expectations that mean something also where a table has no rows."""


class Suite(StrictModel):
    """What one table must look like."""

    table: TableName = Field(description="name of the table, with its schema if that is not public")
    key: list[Column] | None = Field(
        default=None, min_length=1, description="columns that name a failing row in reports; default: the primary key"
    )
    may_be_empty: bool = Field(
        default=False, description="no rows is no mistake; else expectations about rows fail where there are none"
    )
    timeout_s: PositiveDuration = Field(
        default=300.0,
        alias="timeout",
        description="longest time for one statement; an expectation that needs more fails",
    )
    expectations: list[Annotated[Expectation, Field(discriminator="type")]] = Field(
        min_length=1, description="what must hold"
    )

    @property
    def schema_and_table(self) -> tuple[str, str]:
        """Return the schema and the table."""
        schema, _, table = self.table.rpartition(".")
        return schema or "public", table


def suites_problems(suites: Mapping[str, Suite]) -> Sequence[str]:
    """Return what does not fit together between the files of a folder: a table that has two suites."""
    first: dict[tuple[str, str], str] = {}
    found = []
    for origin, suite in suites.items():
        earlier = first.setdefault(suite.schema_and_table, origin)
        if earlier != origin:
            found.append(f"{origin}: found a suite for {suite.table}, which {earlier} has; expected one file a table")
    return found
