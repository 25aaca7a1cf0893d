"""Servers in memory, for tests and dry runs."""

from datetime import UTC, datetime

from blocks.context import Context
from tasks.common.errors import Refused, Retryable
from tasks.common.model import StrictModel
from tasks.common.preflight import host_and_port
from tasks.preflight.model import Certificate

_SERVER_ERROR = 500


class MemoryNetwork:
    """Implements `Network` with the servers that it was told of; nobody listens anywhere else."""

    class Settings(StrictModel):
        """There is nothing to set here; see `listen` and `present`."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings, context
        self._status: dict[str, int] = {}
        self._certificates: dict[str, Certificate] = {}

    def listen(self, address: str, status: int = 200) -> None:
        """Somebody listens at the address, and answers HTTP so. *Idempotent:* yes."""
        self._status[address] = status

    def present(self, address: str, certificate: Certificate) -> None:
        """The server at 'host:port' shows this certificate, for the name of its subject only. *Idempotent:* yes."""
        self._certificates[address] = certificate

    def reach(self, address: str) -> str:
        """Return how a server answered: 'host:port' takes a connection, an http(s) address answers below 500.

        *Idempotent:* yes.

        Raises:
            Retryable: it does not.
        """
        status = self._status.get(address)
        if status is None or ("://" in address and status >= _SERVER_ERROR):
            what = "no connection" if status is None else f"it answers HTTP {status}"
            raise Retryable(what, on=address, next_action="let somebody 'listen' there")
        return "answers"

    def certificate(self, address: str, server_name: str | None, ca: str | None) -> Certificate:
        """Return a server's certificate: valid now and for that name; who has issued it does not matter here.

        *Idempotent:* yes.

        Raises:
            Refused: it is not accepted.
            Retryable: nobody shows one at the address.
        """
        del ca
        name, found = server_name or host_and_port(address)[0], self._certificates.get(address)
        if found is None:
            raise Retryable("no TLS connection came about", on=address, next_action="'present' a certificate there")
        if found.subject != name or found.not_after <= datetime.now(UTC):
            problem = "it is for another name" if found.subject != name else "it has expired"
            raise Refused(
                f"the certificate is not accepted for {name}: {problem}", on=address, next_action="'present' another"
            )
        return found
