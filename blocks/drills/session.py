"""A connection to PostgreSQL on which every answer has a deadline, whatever the server, the router or the network does.

psycopg waits for a server that was stopped, or behind a cut link, for as long as the system does. So this uses libpq's
own non-blocking calls.

*Source:* PostgreSQL manual, 34.1 (PQconnectPoll) and 34.4 (asynchronous command processing); 55.2.3 (a statement of the
extended query protocol is committed at Sync, after its CommandComplete).
"""

import select
import time
from collections.abc import Sequence

import psycopg
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, PGconn, PollingStatus, abc

_FATAL = frozenset({b"FATAL", b"PANIC"})
_MAYBE_DONE = ("08", "40003")
"""SQLSTATE: connection exception, statement completion unknown."""
_DONE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
_LONGEST = 200


class NotSent(Exception):
    """There was no connection: the server has not seen the statement."""


class NoAnswer(Exception):
    """The statement was sent, and whether it was done is not known."""


class Declined(Exception):
    """The server has not done it, and says so."""


class Session:
    """One connection, opened when it is needed. Not to be shared between threads.

    Args:
        address: as libpq takes it.
    """

    def __init__(self, address: str) -> None:
        self._address = address.encode()
        self._connection: abc.PGconn | None = None

    @property
    def open(self) -> bool:
        """Return whether there is a connection, as far as is known."""
        return self._connection is not None

    def ask(self, statement: str, values: Sequence[str], by_s: float) -> list[list[str | None]]:
        """Return the rows that a statement has, each value as text. After any error the connection is closed.

        Args:
            statement: one of SQL, with $1, $2 ...
            values: bound by number.
            by_s: no answer counts after that, by `time.monotonic`.

        Raises:
            NotSent: no connection came about in time.
            Declined: the server has not done it.
            NoAnswer: it may have been done.
        """
        try:
            connection = self._connection or self._connect(by_s)
            return self._answer(connection, statement, values, by_s)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """There is no connection. *Idempotent:* yes."""
        if self._connection is not None:
            self._connection.finish()
        self._connection = None

    def _connect(self, by_s: float) -> abc.PGconn:
        connection: abc.PGconn = PGconn.connect_start(self._address)
        self._connection = connection
        connection.notice_handler = None
        waits_for: int = PollingStatus.WRITING
        while waits_for != PollingStatus.OK:
            if connection.status == ConnStatus.BAD or waits_for == PollingStatus.FAILED:
                raise NotSent(_text(connection.error_message))
            if not _ready(connection.socket, waits_for == PollingStatus.WRITING, by_s):
                raise NotSent("no connection in time")
            waits_for = connection.connect_poll()
        connection.nonblocking = 1
        return connection

    def _result(self, connection: abc.PGconn, by_s: float) -> abc.PGresult | None:
        """Return the next part of an answer; None where the server is ready for the next statement."""
        while connection.is_busy():
            if not _ready(connection.socket, False, by_s):
                raise NoAnswer("no answer in time")
            connection.consume_input()
        return connection.get_result()

    def _answer(
        self, connection: abc.PGconn, statement: str, values: Sequence[str], by_s: float
    ) -> list[list[str | None]]:
        try:
            connection.send_query_params(statement.encode(), [each.encode() for each in values])
            while connection.flush():
                if not _ready(connection.socket, True, by_s):
                    raise NoAnswer("not taken in time")
            result = last = self._result(connection, by_s)
            while last is not None and last.status in _DONE:
                # It is done when the server is ready for the next one, and not before: what it says of a statement may
                # arrive although its commit was cut off while it waited for a standby.
                last = self._result(connection, by_s)
            result = last or result
        except (psycopg.Error, OSError) as error:
            raise NoAnswer(_text(str(error))) from None
        if result is None:
            raise NoAnswer("the connection was lost")
        if result.status not in _DONE:
            raise _refusal(
                result.error_field(DiagnosticField.SEVERITY_NONLOCALIZED),
                result.error_field(DiagnosticField.SQLSTATE),
                _text(result.error_message),
            )
        rows = [
            [_value(result.get_value(row, column)) for column in range(result.nfields)] for row in range(result.ntuples)
        ]
        self._finish(connection, by_s)
        return rows

    def _finish(self, connection: abc.PGconn, by_s: float) -> None:
        """The connection takes the next statement, or is closed: what was answered stands either way."""
        try:
            while True:
                while connection.is_busy():
                    if not _ready(connection.socket, False, by_s):
                        self.close()
                        return
                    connection.consume_input()
                if connection.get_result() is None:
                    return
        except psycopg.Error:
            self.close()


def _refusal(severity: bytes | None, state: bytes | None, text: str) -> Exception:
    """Return what an error of the server means.

    One without a severity is libpq's own: the connection was lost. A FATAL one may come after the commit, as where a
    server is stopped while a write waits for its standby.
    """
    code = (state or b"").decode()
    if severity is None or severity in _FATAL or code.startswith(_MAYBE_DONE):
        return NoAnswer(text)
    return Declined(text)


def _ready(descriptor: int, to_write: bool, by_s: float) -> bool:
    left_s = by_s - time.monotonic()
    if left_s <= 0:
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if to_write else select.POLLIN)
    return bool(poll.poll(left_s * 1000))


def _value(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", errors="replace")


def _text(message: bytes | str) -> str:
    text = message.decode("utf-8", errors="replace") if isinstance(message, bytes) else message
    return (text.strip().splitlines() or ["no reason was given"])[-1][:_LONGEST]
