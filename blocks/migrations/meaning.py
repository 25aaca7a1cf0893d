"""What PostgreSQL's errors mean for whoever runs a migration."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.migration.locks import AGAIN
from tasks.migration.ports import Contended

ROLLED_BACK = "it was rolled back; what was committed before it stays, and is on record"
UNKNOWN = "it was committed with its record, or not at all; the history says which"
_LOST = ("08", "57P")
"""SQLSTATEs of a lost connection. *Source:* PostgreSQL manual, appendix A: 08 connection exception, 57P shutdown."""
_RUN_OUT = "53"
_NOT_LET_IN = ("authentication failed", "no pg_hba.conf entry", "does not exist", "permission denied for database")
_DATA: tuple[tuple[type[psycopg.Error], str, str], ...] = (
    (
        errors.UniqueViolation,
        "rows are alike that must not be",
        "find them (select KEY, count(*) from TABLE group by KEY having count(*) > 1), mend them, then apply again",
    ),
    (
        errors.CheckViolation,
        "rows break a rule",
        "find them with the rule's condition, mend them or have the backfill mend them, then apply again",
    ),
    (
        errors.ForeignKeyViolation,
        "rows refer to rows that are not there",
        "find them by an anti-join, mend them, then apply again",
    ),
    (errors.NotNullViolation, "rows have no value where one must be", "fill them first, then apply again"),
    (
        errors.InsufficientPrivilege,
        "the role lacks a right",
        "let the tables' owner run migrations, or make the role a member of it; it also needs CREATE on the database",
    ),
    (
        errors.ReadOnlySqlTransaction,
        "the server takes no writes: it may have become a standby",
        "name all hosts in the address, and add target_session_attrs=read-write",
    ),
    (errors.DuplicateObject, "something of that name is there already", "give it another name, or look what made it"),
    (errors.DuplicateTable, "something of that name is there already", "give it another name, or look what made it"),
    (errors.DuplicateColumn, "a column of that name is there already", "give it another name, or look what made it"),
)


@contextmanager
def translated(on: str, redact: Callable[[str], str], state: str = ROLLED_BACK) -> Iterator[None]:
    """Errors of PostgreSQL within the block are ours.

    Raises:
        Contended: a lock was not to be had.
        Retryable: the server is gone, was too slow, or has run out of something.
        Refused: it does not do it.
    """
    try:
        yield
    except psycopg.Error as error:
        # Without its cause, whose text may hold rows of the database.
        raise meaning(error, on, redact, state) from None


def meaning(error: psycopg.Error, on: str, redact: Callable[[str], str], state: str = ROLLED_BACK) -> SlipwayError:
    """Return what an error means."""
    code = error.sqlstate or ""
    facts = {"PostgreSQL says": redact(error.diag.message_primary or str(error)), "SQLSTATE": code or "none"}
    if code in AGAIN:
        return Contended(
            "a lock was not to be had in time",
            on=on,
            state=ROLLED_BACK,
            next_action="look for long transactions in pg_stat_activity, then run this again",
            facts=facts,
        )
    if isinstance(error, errors.QueryCanceled):
        return Retryable(
            "a statement took longer than it may, or somebody cancelled it",
            on=on,
            state=ROLLED_BACK,
            next_action="run this again when less goes on, or raise 'within' of the migration",
            facts=facts,
        )
    if not code or code.startswith(_LOST):
        return Retryable(
            "the connection to the database is lost",
            on=on,
            state=state if state != ROLLED_BACK else UNKNOWN,
            next_action="check its server; then run this again: it goes on from what is on record",
            facts=facts,
        )
    if code.startswith(_RUN_OUT):
        return Retryable(
            "the server has run out of something: disk, memory or connections",
            on=on,
            state=ROLLED_BACK,
            next_action="make room, then run this again",
            facts=facts,
        )
    if error.diag.constraint_name:
        facts["constraint or index"] = error.diag.constraint_name
    what, action = next(
        ((what, action) for kind, what, action in _DATA if isinstance(error, kind)),
        ("the database does not do it", "correct the migration; what was begun can be undone: slipway migration undo"),
    )
    return Refused(what, on=on, state=state, next_action=action, facts=facts)


def not_connected(error: psycopg.Error, on: str, redact: Callable[[str], str]) -> SlipwayError:
    """Return what it means that there is no connection."""
    text = str(error)
    facts = {"PostgreSQL says": redact(text)}
    if any(reason in text for reason in _NOT_LET_IN):
        return Refused(
            "the database does not let us in",
            on=on,
            next_action="check role, password and name of the database in the address",
            facts=facts,
        )
    return Retryable(
        "the database does not answer",
        on=on,
        next_action="check that its server runs and can be reached from this worker",
        facts=facts,
    )
