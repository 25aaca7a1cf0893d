"""A first suite for a table that is known to be healthy. Pure: what it looks like goes in, the file comes out."""

import json
import math
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from tasks.expectations.model import ColumnProfile, TableProfile

MAIL_REGEX = "^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:]]+$"
MOST_VALUES = 20
"""A column with more different values has no set of values."""
ENOUGH_ROWS = 50
"""With fewer rows what is seen is chance, unless the table itself says so."""
_ROWS_LEFT, _ROWS_MOST = 0.8, 2.0
_SLACK = 0.1
_FUTURE = timedelta(days=3653)
_PAST = timedelta(days=366)

_HEAD = """\
# Derived from a healthy database by 'slipway expectations suggest': a first draft. Read it, and correct what is chance.
"""


def suggest(profile: TableProfile) -> str:
    """Return the text of a suite that the table passes now: keys, NULLs, sets, ranges with slack, number of rows."""
    key = [f"key: {json.dumps(profile.keys[0])}"] if profile.keys else []
    head = [f"table: {json.dumps(profile.table)}", *key, *(["may_be_empty: true"] if not profile.rows else [])]
    found = [each for each in (*_rows(profile), *_keys(profile), *_columns(profile)) if each]
    lines = [line for each in found for line in _lines(each)]
    return _HEAD + "\n".join([*head, "expectations:", *lines]) + "\n"


def _lines(expectation: dict[str, Any]) -> Iterator[str]:
    mark = "- "
    for key, value in expectation.items():
        # JSON is YAML, and quotes whatever YAML could take for something else.
        plain = key in ("type", "severity") or (key in ("min_value", "max_value"))
        yield f"  {mark}{key}: {value if plain else json.dumps(value, ensure_ascii=False)}"
        mark = "  "


def _rows(profile: TableProfile) -> Iterator[dict[str, Any]]:
    names = [each.name for each in profile.columns]
    yield {"type": "expect_table_columns_to_match_set", "column_set": names, "exact_match": False}
    if profile.rows:
        yield {
            "type": "expect_table_row_count_to_be_between",
            "min_value": math.ceil(profile.rows * _ROWS_LEFT),
            "max_value": math.ceil(profile.rows * _ROWS_MOST),
        }


def _keys(profile: TableProfile) -> Iterator[dict[str, Any]]:
    for key in sorted(set(profile.keys)):
        if len(key) == 1:
            yield {"type": "expect_column_values_to_be_unique", "column": key[0]}
        else:
            yield {"type": "expect_compound_columns_to_be_unique", "column_list": list(key)}


def _columns(profile: TableProfile) -> Iterator[dict[str, Any]]:
    alone = {key[0] for key in profile.keys if len(key) == 1}
    for column in profile.columns:
        seen = profile.rows - column.nulls
        enough = seen >= ENOUGH_ROWS
        if column.required or (enough and not column.nulls):
            yield _of("expect_column_values_to_not_be_null", column) | _doubt(certain=column.required)
        if enough and column.kind == "text" and column.distinct == seen and column.name not in alone:
            yield _of("expect_column_values_to_be_unique", column) | _doubt(certain=False)
        if column.mail:
            yield _of("expect_column_values_to_match_regex", column) | {"regex": MAIL_REGEX}
        elif enough and column.values and len(column.values) < seen / 2:
            yield _of("expect_column_values_to_be_in_set", column) | {"value_set": list(column.values)}
        elif enough and column.kind in ("number", "moment") and not column.key and column.low and column.high:
            yield _of("expect_column_values_to_be_between", column) | _range(column)


def _of(kind: str, column: ColumnProfile) -> dict[str, Any]:
    return {"type": kind, "column": column.name}


def _doubt(*, certain: bool) -> dict[str, str]:
    return {} if certain else {"severity": "warning"}


def _range(column: ColumnProfile) -> dict[str, Any]:
    assert column.low is not None and column.high is not None
    if column.kind == "moment":
        return _moments(date.fromisoformat(column.low[:10]), date.fromisoformat(column.high[:10]))
    low, high = float(column.low), float(column.high)
    slack = (high - low) * _SLACK or abs(high) * _SLACK or 1.0
    lowest = max(0.0, low - slack) if low >= 0 else low - slack
    return {"min_value": _number(math.floor(lowest * 100) / 100, column), "max_value": _number(high + slack, column)}


def _moments(low: date, high: date) -> dict[str, Any]:
    """Return days far enough apart for years to come; a wrong century is found, and stale data by other means."""
    first = low - min(_PAST, low - date.min)
    return {"min_value": first.isoformat(), "max_value": (high + min(_FUTURE, date.max - high)).isoformat()}


def _number(value: float, column: ColumnProfile) -> int | float:
    if column.whole:
        return math.floor(value) if value < float(column.low or 0) else math.ceil(value)
    return math.floor(value * 100) / 100 if value < float(column.low or 0) else math.ceil(value * 100) / 100
