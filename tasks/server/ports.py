"""What bringing a Prefect server to a state needs from the outside: the server."""

from typing import Protocol

from tasks.server.model import Resource


class Server(Protocol):
    """A Prefect server, of which only what Slipway makes is seen and touched."""

    def observe(self) -> tuple[Resource, ...]:
        """Return everything that Slipway has made there, whoever may have changed it since.

        Raises:
            Retryable: the server does not answer.
        """
        ...

    def make(self, resource: Resource) -> None:
        """The resource is there. *Idempotent:* yes.

        Raises:
            Refused: the server does not take it.
            Retryable: the server does not answer.
        """
        ...

    def change(self, resource: Resource) -> None:
        """The resource is as it is said, but what is stopped stays stopped. *Idempotent:* yes.

        Raises:
            Refused: the server does not take it.
            Retryable: the server does not answer.
        """
        ...

    def remove(self, resource: Resource) -> None:
        """The resource is not there any more; runs of a deployment that have begun go on. *Idempotent:* yes.

        Raises:
            Retryable: the server does not answer.
        """
        ...
