"""Connections to the ledger's database, and the meaning of what PostgreSQL raises."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from blocks.postgresql import KEEPALIVE
from blocks.secrets import Secrets
from tasks.common.errors import Refused, Retryable, SlipwayError

# Longer than any statement of the ledger takes, and short enough that one behind somebody's lock is told of.
_STATEMENT_TIMEOUT_MS = 30_000
# libpq has no code for a refused connection. What a server says in another language is only retried, which is harmless.
_REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied for database")
_NOT_IN_USERINFO = frozenset("/?#@[] \t")
_CONNECTION_LOST = ("08", "57")
"""Classes of SQLSTATE. *Source:* PostgreSQL manual, appendix A: connection exception, operator intervention."""

_REFUSED: tuple[tuple[tuple[type[psycopg.Error], ...], str, str], ...] = (
    (
        (errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedColumn),
        "the ledger's tables are missing or of another version",
        "start any release, rollback or 'slipway reconcile': it prepares the ledger, if its role may create tables",
    ),
    (
        (errors.InsufficientPrivilege,),
        "the ledger's role lacks a right",
        "grant USAGE on schema slipway, SELECT and INSERT on its tables, also UPDATE and DELETE on lease and "
        "lease_waiter, and DELETE on delivery_waiting; to prepare it, CREATE on the database",
    ),
    ((psycopg.Error,), "the ledger's database refused", "report this, with what PostgreSQL says"),
)


class LedgerDatabase:
    """Opens a connection for each piece of work.

    Args:
        dsn: reference to the address.
        connect_timeout_s: longest wait for a connection, for each host in the address.
        secrets: resolves the reference; redacts the password ever after.
    """

    def __init__(self, dsn: str, connect_timeout_s: float, secrets: Secrets) -> None:
        self._dsn = dsn
        self._connect_timeout_s = connect_timeout_s
        self._secrets = secrets
        self._address: dict[str, Any] | None = None

    @contextmanager
    def session(self, unknown: str) -> Iterator[psycopg.Connection]:
        """Yield a connection in autocommit mode, closed afterwards.

        Args:
            unknown: what the state is if the connection is lost in the middle.

        Raises:
            Retryable: the database does not answer, or did not finish.
            Refused: it does not let us in, or does not do it.
        """
        connection = self._connect()
        try:
            with connection:
                connection.execute(sql.SQL("set statement_timeout = {}").format(_STATEMENT_TIMEOUT_MS))
                yield connection
        except psycopg.Error as error:
            # Without its cause, whose text nobody has redacted.
            raise self._meaning(error, unknown) from None

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        return self._secrets.redact(text)

    def _connect(self) -> psycopg.Connection:
        if self._address is None:
            self._address = self._resolve()
        try:
            return psycopg.connect(**{**KEEPALIVE, **self._address}, autocommit=True)
        except psycopg.Error as error:
            # The secret may have been changed: look it up again next time.
            self._address = None
            text = str(error)
        facts = {"PostgreSQL says": self._secrets.redact(text)}
        if any(reason in text for reason in _REFUSALS):
            raise Refused(
                "the ledger's database does not let us in",
                on=self._dsn,
                next_action="check role, password and name of the database in the address",
                facts=facts,
            )
        raise Retryable(
            "the ledger's database does not answer",
            on=self._dsn,
            next_action="check that its server runs and can be reached from this worker",
            facts=facts,
        )

    def _resolve(self) -> dict[str, Any]:
        """Return the address in parts; the password is redacted from now on, wherever it turns up."""
        dsn = self._secrets.resolve(self._dsn)
        try:
            address: dict[str, Any] = dict(conninfo_to_dict(dsn))
        except psycopg.Error:
            address = {}
        after_scheme = dsn.partition("://")[2]
        userinfo = after_scheme.rpartition("@")[0]
        written = userinfo.partition(":")[2]
        for password in (written, unquote(written), str(address.get("password") or "")):
            self._secrets.redactor.add(password)
        # libpq would take a part of such a password for the host, and name it in its error.
        if not address or _NOT_IN_USERINFO & set(userinfo):
            raise Refused(
                "the ledger's address cannot be read (it is not shown, as it holds a password)",
                on=self._dsn,
                next_action="write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with every / ? # @ [ ] % and "
                "space in user and password percent-encoded",
            )
        address.setdefault("application_name", "slipway")
        address["connect_timeout"] = math.ceil(self._connect_timeout_s)
        return address

    def _meaning(self, error: psycopg.Error, unknown: str) -> SlipwayError:
        facts = {"PostgreSQL says": self._secrets.redact(error.diag.message_primary or str(error))}
        if isinstance(error, errors.ReadOnlySqlTransaction):
            return Retryable(
                "the ledger's database is read-only: it may be a standby",
                on=self._dsn,
                next_action="name all hosts in the address, and add target_session_attrs=read-write",
                facts=facts,
            )
        if isinstance(
            error, psycopg.OperationalError | psycopg.InterfaceError | errors.IdleInTransactionSessionTimeout
        ):
            lost = error.sqlstate is None or error.sqlstate.startswith(_CONNECTION_LOST)
            return Retryable(
                "the ledger's database did not finish",
                on=self._dsn,
                state=unknown if lost else "nothing was changed",
                next_action="check its server: restarted, disk full, or a lock that somebody holds for long",
                facts=facts,
            )
        what, next_action = next((what, action) for kinds, what, action in _REFUSED if isinstance(error, kinds))
        return Refused(what, on=self._dsn, next_action=next_action, facts=facts)
