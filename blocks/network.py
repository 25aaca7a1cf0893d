"""Servers, seen from here: whether they answer, and whether their certificates are good."""

import socket
import ssl
from datetime import UTC, datetime

from pydantic import Field

from blocks.asking import Asker
from blocks.context import Context
from tasks.common.errors import Refused, Retryable
from tasks.common.model import StrictModel
from tasks.common.preflight import host_and_port
from tasks.common.units import PositiveDuration
from tasks.preflight.model import Certificate

_SERVER_ERROR = 500


class SocketNetwork:
    """Implements `Network` with connections of its own. Safe to share between threads."""

    class Settings(StrictModel):
        """Settings of the driver `sockets`."""

        within_s: PositiveDuration = Field(default=5.0, alias="within", description="longest wait for an answer")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._within_s = settings.within_s
        self._context = context
        self._redact = context.secrets.redact
        self._asker = Asker(self._redact)

    def reach(self, address: str) -> str:
        """Return how a server answered: 'host:port' takes a connection, an http(s) address answers below 500.

        *Idempotent:* yes.

        Raises:
            Retryable: it does not.
        """
        if "://" not in address:
            with self._connected(address):
                return "takes connections"
        answer = self._asker.get(address, within_s=self._within_s, at_most_bytes=0)
        if answer.status >= _SERVER_ERROR:
            raise self._silent(f"it answers HTTP {answer.status}", address)
        return f"answers HTTP {answer.status}"

    def certificate(self, address: str, server_name: str | None, ca: str | None) -> Certificate:
        """Return a server's certificate: valid now, for that name, and from an authority that is trusted.

        *Idempotent:* yes.

        Raises:
            Refused: it is not accepted, or the authorities cannot be read.
            Retryable: no TLS connection came about.
        """
        name = server_name or host_and_port(address)[0]
        trusted = self._trusted(ca)
        with self._connected(address) as plain:
            try:
                with trusted.wrap_socket(plain, server_hostname=name) as connection:
                    shown = connection.getpeercert() or {}
            except ssl.SSLCertVerificationError as error:
                raise Refused(
                    f"the certificate is not accepted for {name}: {error.verify_message}",
                    on=address,
                    next_action="renew it, correct server_name or ca in the estate file, and have the server load it",
                ) from None
            except (OSError, ValueError) as error:
                raise self._silent(f"no TLS connection came about: {_reason(error)}", address) from None
        return Certificate(name, datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC))

    def _trusted(self, ca: str | None) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=None if ca is None else str(self._context.resolve(ca)))
        except OSError as error:
            raise Refused(
                f"the authorities' file cannot be read: {_reason(error)}",
                on=str(ca),
                next_action="name a PEM file that this worker can read",
            ) from None

    def _connected(self, address: str) -> socket.socket:
        try:
            return socket.create_connection(host_and_port(address), timeout=self._within_s)
        except (OSError, UnicodeError) as error:
            raise self._silent(f"no connection: {_reason(error)}", address) from None

    def _silent(self, what: str, address: str) -> Retryable:
        return Retryable(
            self._redact(what),
            on=self._redact(address),
            next_action="check that it runs, and that it can be reached from this worker",
        )


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
