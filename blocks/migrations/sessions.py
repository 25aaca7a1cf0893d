"""Connections to a database that is migrated, and the mutex that only one engine has."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from blocks.migrations.meaning import not_connected, translated
from blocks.postgresql import KEEPALIVE
from tasks.common.errors import Refused, Retryable
from tasks.migration.ports import MutexLost

APPLICATION = "slipway migration"
# "slipmigr" in ASCII: nobody else locks it.
_KEY = 0x736C69706D696772
_HALVES = (_KEY >> 32, _KEY & 0xFFFFFFFF)
_CONNECT_WITHIN_S = 10
_POLL_S = 0.2
_SETTINGS = (
    "set standard_conforming_strings = on",
    "set datestyle = 'ISO, MDY'",
    "set intervalstyle = 'postgres'",
    # A policy must hide no row from a backfill or a check: it fails then, and says so.
    "set row_security = off",
    "set idle_in_transaction_session_timeout = '60s'",
    "set tcp_keepalives_idle = 15",
    "set tcp_keepalives_interval = 5",
    "set tcp_keepalives_count = 3",
)
# Without it a killed engine's statement works on for nobody, and keeps its locks.
_CHECK_CLIENT = "set client_connection_check_interval = '2s'"
_HAS_CHECK = 140_000
_MINE = """
select exists (
    select from pg_locks
     where locktype = 'advisory' and classid = %s and objid = %s and objsubid = 1 and granted and pid = %s
       and database = (select oid from pg_database where datname = current_database()))
"""
_WHOSE = """
select coalesce(a.application_name, ''), l.pid
  from pg_locks l left join pg_stat_activity a using (pid)
 where l.locktype = 'advisory' and l.classid = %s and l.objid = %s and l.objsubid = 1 and l.granted
   and l.database = (select oid from pg_database where datname = current_database())
"""


class Sessions:
    """Opens connections to one database.

    Args:
        address: gives what libpq reads.
        on: what errors call it; no secret.
        redact: takes secrets out of a text.
    """

    def __init__(self, address: Callable[[], str], on: str, redact: Callable[[str], str]) -> None:
        self.address, self.on, self.redact = address, on, redact

    def connect(self, name: str = "") -> psycopg.Connection:
        """Return a connection in autocommit mode, to be closed by the caller.

        Raises:
            Retryable: it does not answer.
            Refused: it does not let us in.
        """
        address, application = self.address(), f"{APPLICATION} {name}".strip()[:63]
        try:
            connection = psycopg.connect(
                address,
                # A dead engine's mutex would live as long as its connection.
                **KEEPALIVE,  # type: ignore[arg-type]
                connect_timeout=_CONNECT_WITHIN_S,
                application_name=application,
                autocommit=True,
            )
        except psycopg.Error as error:
            raise not_connected(error, self.on, self.redact) from None
        with translated(self.on, self.redact):
            for each in _SETTINGS:
                connection.execute(each)
            if connection.info.server_version >= _HAS_CHECK:
                connection.execute(_CHECK_CLIENT)
        return connection

    @contextmanager
    def reading(self, within_s: float = 30.0) -> Iterator[psycopg.Connection]:
        """Yield a read-only connection whose statements are bounded; closed afterwards."""
        with self.connect() as connection, translated(self.on, self.redact):
            connection.execute("set default_transaction_read_only = on")
            connection.execute(sql.SQL("set statement_timeout = {}").format(round(within_s * 1000)))
            connection.execute("set lock_timeout = '2s'")
            yield connection


class Mutex:
    """The right to be the only engine: an advisory lock on a session of its own, which is never in a transaction.

    Polled, and never waited for: who waits for an advisory lock has a transaction open, and a concurrent build of the
    holder would wait for that one for ever. *Source:* flyway#1654, golang-migrate#960.

    Args:
        sessions: opens the session.
        run_id: shown to others who want it.
    """

    def __init__(self, sessions: Sessions, run_id: str) -> None:
        self._sessions = sessions
        self._connection = sessions.connect(run_id)
        self.pid = self._connection.info.backend_pid

    def take(self, within_s: float) -> None:
        """It is ours.

        Raises:
            Refused: another engine has it, and has not given it up in time.
        """
        deadline = time.monotonic() + within_s
        with translated(self._sessions.on, self._sessions.redact):
            while True:
                row = self._connection.execute("select pg_try_advisory_lock(%s)", [_KEY]).fetchone()
                if row == (True,):
                    return
                if time.monotonic() > deadline:
                    raise _busy(holder(self._connection), self._sessions.on)
                time.sleep(_POLL_S)

    def require(self, worker: psycopg.Connection) -> None:
        """The session that holds it lives, as the worker's transaction sees it.

        Raises:
            MutexLost: it does not.
        """
        if worker.execute(_MINE, [*_HALVES, self.pid]).fetchone() != (True,):
            raise MutexLost(
                "this engine's hold on the database is gone: its session has ended",
                on=self._sessions.on,
                state="what was under way was rolled back; what was committed is on record",
                next_action="look why the server ended a session; then run this again: it goes on from its record",
            )

    def close(self) -> None:
        """It is free."""
        self._connection.close()


def holder(connection: psycopg.Connection) -> str:
    """Return who holds the mutex: its application's name; '' where nobody does."""
    row = connection.execute(_WHOSE, _HALVES).fetchone()
    return "" if row is None else str(row[0] or f"server process {row[1]}")


def _busy(by: str, on: str) -> Retryable | Refused:
    return Refused(
        "another engine is at work on this database",
        on=on,
        state="this run has changed nothing",
        next_action="let it end, then run this again; nobody needs to remove a lock: it goes with its session",
        facts={"at work": by or "it has just ended"},
    )
