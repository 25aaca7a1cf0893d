"""Looks at one PostgreSQL database: read-only, with a bound on time, never at the contents of rows."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg import errors, sql

from blocks.databases import catalogs
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.wal import Slot, WalHeld
from tasks.verification.fingerprint import fingerprint
from tasks.verification.model import HEARTBEAT_TABLE, DatabaseFacts, Moment, Orphans, SequenceState

_CONNECT_WITHIN_S = 10
# A production's schema change must not wait behind us, nor we behind it.
_LOCK_WITHIN_MS = 2000
_KEYS_SHOWN = 5
_KEPT = "1 hour"
_DAMAGED = (errors.DataCorrupted, errors.IndexCorrupted, errors.InternalError_, errors.IoError)
_NOT_LET_IN = ("authentication failed", "no pg_hba.conf entry", "does not exist", "permission denied for database")
_NOW_AT = "case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end"
_MOMENT = f"select clock_timestamp(), ({_NOW_AT})::text, (select last_archived_time from pg_stat_archiver)"  # noqa: S608
_WAL_SIZES = """
select pg_size_bytes(current_setting('max_wal_size')), pg_size_bytes(current_setting('wal_segment_size'))
"""
_SLOTS = f"""
select slot_name::text, active, coalesce(pg_wal_lsn_diff({_NOW_AT}, restart_lsn), 0)::bigint,
       coalesce(wal_status in ('unreserved', 'lost'), false)
  from pg_replication_slots order by 1
"""  # noqa: S608 - of this module's own constants
# The files themselves: the archiver's counters are green also where it does nothing.
_WAITING = r"""
select count(*), coalesce(greatest(extract(epoch from clock_timestamp() - min(modification)), 0), 0)::float8
  from pg_ls_archive_statusdir() where name ~ '^[0-9A-F]{24}\.ready$'
"""
_TABLE = sql.Identifier("public", HEARTBEAT_TABLE)


class ObservedDatabase:
    """Implements `Database` over an address.

    Args:
        address: gives what libpq reads.
        on: what errors call it; no secret.
        within_s: longest time that one look may take.
        redact: takes secrets out of a text.
    """

    def __init__(self, address: Callable[[], str], on: str, within_s: float, redact: Callable[[str], str]) -> None:
        self._address, self._on, self._within_s, self._redact = address, on, within_s, redact

    def moment(self) -> Moment:
        """Return where its server is now. *Idempotent:* yes."""
        with self._reading() as session:
            return Moment(*_one(session, _MOMENT))

    def facts(self, count_within_s: float | None = None) -> DatabaseFacts:
        """Return what is in it; tables that there is no time for are not counted. *Idempotent:* yes."""
        deadline = time.monotonic() + (self._within_s if count_within_s is None else count_within_s)
        with self._reading() as session:
            name, version, size, checksums = _one(session, catalogs.SERVER)
            extensions = dict[str, str](session.execute(catalogs.EXTENSIONS).fetchall())
            objects = [row for query in catalogs.OBJECTS for row in session.execute(query).fetchall()]
            tables = session.execute(catalogs.TABLES).fetchall()
            rows = {f"{schema}.{table}": _count(session, schema, table, deadline) for schema, table in tables}
        plain = version.split(" ")[0]
        return DatabaseFacts(name, plain, size, checksums, extensions, fingerprint(objects), rows)

    def sequences(self) -> tuple[SequenceState, ...]:
        """Return every sequence that a column takes its values from. *Idempotent:* yes."""
        with self._reading() as session:
            return tuple(_sequence(session, row) for row in session.execute(catalogs.SEQUENCES).fetchall())

    def orphans(self) -> tuple[Orphans, ...]:
        """Return every foreign key that is in force, with the rows that it forbids. *Idempotent:* yes."""
        with self._reading() as session:
            return tuple(_orphans(session, row) for row in session.execute(catalogs.FOREIGN_KEYS).fetchall())

    def heartbeat(self) -> datetime | None:
        """Return the newest heartbeat; None where there is none. *Idempotent:* yes."""
        with self._reading() as session:
            if _one(session, f"select to_regclass('public.{HEARTBEAT_TABLE}')")[0] is None:
                return None
            newest: datetime | None = _one(session, sql.SQL("select max(at) from {}").format(_TABLE))[0]
            return newest

    def wal(self) -> WalHeld:
        """Return what keeps its server from removing WAL. *Idempotent:* yes."""
        with self._reading() as session:
            usual_bytes, segment_bytes = _one(session, _WAL_SIZES)
            slots = [Slot(*row) for row in session.execute(_SLOTS).fetchall()]
            try:
                waiting, oldest_s = _one(session, _WAITING)
            except errors.InsufficientPrivilege:
                return WalHeld(usual_bytes, slots=slots, unseen="its role is not a member of pg_monitor")
        return WalHeld(usual_bytes, waiting, waiting * segment_bytes, oldest_s, slots)

    def beat(self) -> datetime:
        """A heartbeat is in it, and those older than an hour are gone; returns it.

        *Idempotent:* no: each call adds a row. The table is made where it is missing.
        """
        with self._session() as session:
            if _one(session, f"select to_regclass('public.{HEARTBEAT_TABLE}')")[0] is None:
                session.execute(sql.SQL("create table if not exists {} (at timestamptz primary key)").format(_TABLE))
            session.execute(sql.SQL("delete from {} where at < clock_timestamp() - {}::interval").format(_TABLE, _KEPT))
            at: datetime = _one(
                session, sql.SQL("insert into {} values (clock_timestamp()) returning at").format(_TABLE)
            )[0]
            return at

    @contextmanager
    def _reading(self) -> Iterator[psycopg.Connection]:
        with self._session() as session:
            # One snapshot for all of a look would hold back the source's vacuum for as long.
            session.execute("set default_transaction_read_only = on")
            # Rows that a policy hides must be an error, and not a smaller count.
            session.execute("set row_security = off")
            yield session

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection]:
        try:
            with psycopg.connect(
                self._address(), connect_timeout=_CONNECT_WITHIN_S, application_name="slipway", autocommit=True
            ) as session:
                session.execute("set search_path = pg_catalog")
                session.execute(f"set statement_timeout = {int(self._within_s * 1000)}")
                session.execute(f"set lock_timeout = {_LOCK_WITHIN_MS}")
                yield session
        except psycopg.Error as error:
            # Without its cause: nobody has redacted that, and its detail may quote a row.
            raise self._meaning(error) from None

    def _meaning(self, error: psycopg.Error) -> SlipwayError:
        text = self._redact(error.diag.message_primary or str(error)).strip()
        if isinstance(error, _DAMAGED):
            return Unsafe(
                f"the database is damaged: {text}",
                on=self._on,
                state="a part of it cannot be read",
                next_action="if this is a copy, restore another backup; if it is the source, call whoever owns it now",
            )
        passing = isinstance(error, errors.QueryCanceled | errors.LockNotAvailable)
        unknown = error.sqlstate is None and not any(words in text for words in _NOT_LET_IN)
        if passing or unknown or (error.sqlstate or "")[:2] in ("08", "53", "57"):
            return Retryable(
                f"the database does not answer in time: {text}",
                on=self._on,
                next_action="check that its server runs, that it can be reached from here, and its load",
            )
        return Refused(
            f"the database refused: {text}",
            on=self._on,
            next_action="check the address; the role needs USAGE on the schemas and SELECT on all tables (such as "
            "pg_read_all_data), and for heartbeats CREATE on the schema public",
        )


def _one(session: psycopg.Connection, query: Any) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = session.execute(query).fetchone()
    assert row is not None
    return row


def _count(session: psycopg.Connection, schema: str, table: str, deadline: float) -> int | None:
    left_ms = int((deadline - time.monotonic()) * 1000)
    if left_ms <= 0:
        return None
    session.execute(f"set statement_timeout = {left_ms}")
    try:
        count: int = _one(session, sql.SQL("select count(*) from only {}").format(sql.Identifier(schema, table)))[0]
    except (errors.QueryCanceled, errors.LockNotAvailable, errors.UndefinedTable):
        # Dropped or locked meanwhile, or too large for the time that is left.
        return None
    return count


def _sequence(session: psycopg.Connection, row: tuple[Any, ...]) -> SequenceState:
    schema, sequence, table_schema, table, column, increment = row
    last, called = _one(
        session, sql.SQL("select last_value, is_called from {}").format(sql.Identifier(schema, sequence))
    )
    query = sql.SQL("select {}({}) from {}").format(
        sql.SQL("max" if increment > 0 else "min"), sql.Identifier(column), sql.Identifier(table_schema, table)
    )
    following = last + increment if called else last
    name, place = f"{schema}.{sequence}", f"{table_schema}.{table}.{column}"
    return SequenceState(name, place, following, _one(session, query)[0], increment)


def _orphans(session: psycopg.Connection, row: tuple[Any, ...]) -> Orphans:
    name, match, schema, table, parent_schema, parent, columns, parent_columns, operators = row
    own = [sql.Identifier("c", column) for column in columns]
    same = [
        sql.SQL("{} {} {}").format(sql.Identifier("p", theirs), sql.SQL(operator), mine)
        for theirs, operator, mine in zip(parent_columns, operators, own, strict=True)
    ]
    # MATCH FULL: as soon as one column has a value all must have one, and the parent too.
    given = sql.SQL(" or " if match == "f" else " and ").join(sql.SQL("{} is not null").format(each) for each in own)
    where = sql.SQL("from {} c where ({}) and not exists (select 1 from {} p where {})").format(
        sql.Identifier(schema, table), given, sql.Identifier(parent_schema, parent), sql.SQL(" and ").join(same)
    )
    count: int = _one(session, sql.SQL("select count(*) {}").format(where))[0]
    if not count:
        return Orphans(name, 0)
    keys = sql.SQL("select distinct concat_ws(', ', {}) {} order by 1 limit {}").format(
        sql.SQL(", ").join(own), where, sql.Literal(_KEYS_SHOWN)
    )
    return Orphans(name, count, tuple(key for (key,) in session.execute(keys).fetchall()))
