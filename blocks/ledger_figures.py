"""One number by SQL over the ledger, asked so that nothing can be changed by asking."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import errors

from blocks.ledger_database import LedgerDatabase
from tasks.common.errors import Refused, Retryable, SlipwayError

_AT_MOST_MS = 10_000
_SHOWN_CHARACTERS = 500


def figure(database: LedgerDatabase, sql: str, parameters: Mapping[str, str]) -> float | None:
    """Return the number that one SELECT returns; None where it returns no row, null, NaN or an infinity.

    The statement becomes a cursor, so that the server itself takes nothing but one SELECT and sends no more than two
    rows, in a transaction that is read-only and ends with a rollback. Values are bound, never spliced into the text.

    Raises:
        Retryable: the database does not answer, or not within 10 s.
        Refused: it is no single SELECT, would change something, or returns anything but one number.
    """
    with database.session("nothing was changed") as connection:
        try:
            return _number(_rows(connection, sql, parameters), sql)
        except psycopg.Error as error:
            if not _about_the_statement(error):
                raise
            # Without its cause, whose text nobody has redacted.
            raise _refused(error, sql, database) from None


def _rows(connection: psycopg.Connection, sql: str, parameters: Mapping[str, str]) -> list[tuple[Any, ...]]:
    connection.read_only = True
    with connection.transaction(force_rollback=True), psycopg.ServerCursor(connection, "gate") as cursor:
        # Not 'set': a query, after which PostgreSQL makes no transaction read-write any more.
        connection.execute("select set_config('statement_timeout', %s, true)", [str(_AT_MOST_MS)])
        # Anybody who can write the estate file or the service file may ask; what they ask cannot write.
        cursor.execute(sql, parameters)
        return cursor.fetchmany(2)


def _number(rows: list[tuple[Any, ...]], sql: str) -> float | None:
    if len(rows) > 1 or (rows and len(rows[0]) != 1):
        several = "several rows" if len(rows) > 1 else f"{len(rows[0])} columns"
        raise _no_number(f"the SQL returns {several}; it must return one number", sql)
    value = rows[0][0] if rows else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise _no_number(f"the SQL returns a {type(value).__name__}, not a number", sql)
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _no_number(what: str, sql: str) -> Refused:
    return Refused(
        what,
        on=_short(sql),
        next_action="aggregate it: count(*), max(...), extract(epoch from ...); one row, one column",
    )


def _about_the_statement(error: psycopg.Error) -> bool:
    """Return whether the statement is to blame, and not the connection or the server."""
    known = isinstance(error, errors.QueryCanceled | errors.ReadOnlySqlTransaction)
    return known or not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def _refused(error: psycopg.Error, sql: str, database: LedgerDatabase) -> SlipwayError:
    says = database.redact(error.diag.message_primary or str(error))
    facts = {"PostgreSQL says": says[:_SHOWN_CHARACTERS]}
    if isinstance(error, errors.QueryCanceled):
        return Retryable(
            f"the SQL took longer than {_AT_MOST_MS // 1000} s, or was cancelled",
            on=_short(sql),
            next_action="make it cheaper; look at it with EXPLAIN",
            facts=facts,
        )
    return Refused(
        "the ledger refuses the SQL",
        on=_short(sql),
        next_action="write one SELECT that changes nothing; values by %(service)s, a per cent sign as %%",
        facts=facts,
    )


def _short(sql: str) -> str:
    line = " ".join(sql.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + " ..."
