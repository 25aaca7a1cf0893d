"""What the tables of a healthy database look like: read, never changed, within a time that is given."""

import math
import re
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from tasks.common.errors import Refused, Retryable
from tasks.common.personal import looks_personal
from tasks.expectations.model import ColumnProfile, TableProfile
from tasks.expectations.suggest import MAIL_REGEX, MOST_VALUES

_ON = "the database that suites are derived from"
_TABLES = """
    select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
    and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' and n.nspname <> 'slipway_copy' order by 1, 2"""
_COLUMNS = """
    select a.attname, a.attnotnull, coalesce(nullif(t.typbasetype, 0), t.oid)::regtype::text,
    exists (select from pg_constraint k where k.conrelid = a.attrelid and k.contype in ('p', 'u', 'f')
    and a.attnum = any (k.conkey)) or a.attidentity <> '' or coalesce(pg_get_expr(d.adbin, d.adrelid), '') ~ '^nextval'
    from pg_attribute a join pg_type t on t.oid = a.atttypid
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum"""
_KEYS = """
    select array_agg(a.attname::text order by k.place) from pg_index i
    join unnest(i.indkey::int2[]) with ordinality k(number, place) on k.place <= i.indnkeyatts
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
    where i.indrelid = %s::regclass and i.indisunique and i.indpred is null and i.indexprs is null
    group by i.indexrelid, i.indisprimary order by i.indisprimary desc, i.indexrelid"""
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\b")
_KINDS = {
    **dict.fromkeys(("smallint", "integer", "bigint", "numeric", "real", "double precision"), "number"),
    **dict.fromkeys(("date", "timestamp without time zone", "timestamp with time zone"), "moment"),
    **dict.fromkeys(("text", "character varying", "character", "citext"), "text"),
}


def profile_tables(address: str, tables: Sequence[str], within_s: float) -> tuple[list[TableProfile], list[str]]:
    """Return what the tables look like (all of them if none is named), and which were left out as time was over.

    All is read in one read-only transaction, so that what is found belongs together.

    Args:
        address: of the database.
        tables: 'customer' or 'billing.invoice'.
        within_s: longest time for all tables.

    Raises:
        Refused: no such table, or the role may not read it.
        Retryable: the database does not answer.
    """
    deadline = time.monotonic() + within_s
    try:
        with psycopg.connect(address, connect_timeout=10, autocommit=True) as connection:
            connection.execute("set default_transaction_isolation = 'repeatable read'")
            connection.execute("set default_transaction_read_only = on")
            connection.execute("set timezone = 'UTC'")
            with connection.transaction():
                names = _names(connection, tables)
                return _profiles(connection, names, deadline)
    except psycopg.errors.InsufficientPrivilege:
        action = "grant SELECT on its tables to the role"
        raise Refused("the role may not read a table", on=_ON, next_action=action) from None
    except psycopg.OperationalError as error:
        # Not its text: it may hold parts of the address.
        raise Retryable(
            f"the database does not answer, or does not let us in: {type(error).__name__}",
            on=_ON,
            next_action="check the address that the reference stands for, then try again",
        ) from None


def _names(connection: psycopg.Connection, tables: Sequence[str]) -> list[tuple[str, str]]:
    there = [(str(schema), str(table)) for schema, table in connection.execute(_TABLES)]
    wanted = [(table.rpartition(".")[0] or "public", table.rpartition(".")[2]) for table in tables]
    missing = [".".join(name) for name in wanted if name not in there]
    if missing or not there:
        raise Refused(
            f"no such table: {', '.join(missing)}" if missing else "there is no table",
            on=_ON,
            next_action="name tables that are there",
            facts={"tables": ", ".join(".".join(name) for name in there)},
        )
    return wanted or there


def _profiles(
    connection: psycopg.Connection, names: Sequence[tuple[str, str]], deadline: float
) -> tuple[list[TableProfile], list[str]]:
    found: list[TableProfile] = []
    left_out: list[str] = []
    for schema, table in names:
        shown = table if schema == "public" else f"{schema}.{table}"
        left_s = deadline - time.monotonic()
        try:
            if left_s <= 0:
                raise psycopg.errors.QueryCanceled
            with connection.transaction():  # a savepoint: the next table can be read after a timeout
                limit = sql.Literal(max(1, round(left_s * 1000)))
                connection.execute(sql.SQL("set local statement_timeout = {}").format(limit))
                found.append(_profile(connection, sql.Identifier(schema, table), shown))
        except psycopg.errors.QueryCanceled:
            left_out.append(shown)
    return found, left_out


def _profile(connection: psycopg.Connection, name: sql.Identifier, shown: str) -> TableProfile:
    quoted = name.as_string(connection)
    columns = connection.execute(_COLUMNS, [quoted]).fetchall()
    keys = [tuple(row[0]) for row in connection.execute(_KEYS, [quoted])]
    kinds = {row[0]: _KINDS.get(row[2], "other") for row in columns}
    query = sql.SQL("select {} from {}").format(sql.SQL(", ").join(_figures(kinds)), name)
    rows, *figures = connection.execute(query).fetchone() or (0,)
    found = []
    for number, (column, required, _, key) in enumerate(columns):
        seen, distinct, low, high, mail, whole = figures[number * 6 : number * 6 + 6]
        personal = looks_personal(column)
        few = kinds[column] == "text" and not personal and not key and distinct <= MOST_VALUES
        found.append(
            ColumnProfile(
                name=column,
                kind=kinds[column],
                required=required,
                nulls=rows - seen,
                distinct=distinct,
                key=key,
                low=_written(low),
                high=_written(high),
                whole=bool(whole),
                values=tuple(_values(connection, name, column)) if few and rows else (),
                mail=bool(mail),
                personal=personal,
            )
        )
    return TableProfile(shown, rows, found, keys)


def _figures(kinds: dict[str, str]) -> Iterator[sql.Composable]:
    yield sql.SQL("count(*)")
    for column, kind in kinds.items():
        name = sql.Identifier(column)
        # Dates as text: not every date of PostgreSQL is one of Python.
        ends = {"number": "{}({})", "moment": "{}({})::text"}.get(kind, "null")
        yield sql.SQL("count({})").format(name)
        yield sql.SQL("count(distinct {})" if kind == "text" else "0").format(name)
        yield sql.SQL(ends).format(sql.SQL("min"), name)
        yield sql.SQL(ends).format(sql.SQL("max"), name)
        mail = sql.SQL("bool_and({}::text ~ {})").format(name, sql.Literal(MAIL_REGEX))
        yield mail if kind == "text" else sql.SQL("null")
        whole = sql.SQL("bool_and({0} = floor({0}))").format(name)
        yield whole if kind == "number" else sql.SQL("null")


def _values(connection: psycopg.Connection, name: sql.Identifier, column: str) -> Iterator[str | int | bool]:
    query = sql.SQL("select distinct {0} from {1} where {0} is not null order by 1").format(
        sql.Identifier(column), name
    )
    yield from (row[0] for row in connection.execute(query))


def _written(value: Any) -> str | None:
    """Return a number or day as text; None for what no file can hold: NaN, infinity, a year of five digits or BC."""
    if isinstance(value, str):
        return value[:10] if _DAY.match(value) and not value.endswith("BC") else None
    return str(value) if isinstance(value, int | float | Decimal) and math.isfinite(value) else None
