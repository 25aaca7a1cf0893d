"""What preflight needs from the outside: a site that answers, and the network."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tasks.common.capacity import Capacity
from tasks.common.estate import Environment
from tasks.preflight.model import Certificate


class Member(Protocol):
    """One instance, as the router sees it."""

    @property
    def slot(self) -> str:
        """Return the slot that it is in."""
        ...

    @property
    def up(self) -> bool:
        """Return whether the router's own health check passes."""
        ...


class Routing(Protocol):
    """What a router does now."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Return each slot's share of new requests, in per cent."""
        ...

    @property
    def members(self) -> Sequence[Member]:
        """Return every member."""
        ...

    @property
    def persisted(self) -> bool:
        """Return whether a restart of the router would bring back the same."""
        ...


class Runtime(Protocol):
    """Runs instances."""

    def observe(self) -> Sequence[object]:
        """Return every instance that exists."""
        ...

    def capacity(self) -> Capacity:
        """Return what is free where the instances run.

        Raises:
            Refused: it cannot be measured there.
        """
        ...


class Router(Protocol):
    """Shares the traffic."""

    def observe(self) -> Routing:
        """Return what the router does now."""
        ...


class Metrics(Protocol):
    """Answers queries."""

    def check(self) -> None:
        """The source answers."""
        ...


class Place(Protocol):
    """One service in one environment."""

    @property
    def environment(self) -> Environment:
        """Return what the estate file says of it."""
        ...

    @property
    def runtime(self) -> Runtime:
        """Return what runs its instances."""
        ...

    @property
    def router(self) -> Router:
        """Return what shares its traffic."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Return what answers its queries."""
        ...


class Network(Protocol):
    """Looks at servers from here."""

    def reach(self, address: str) -> str:
        """Return how a server answered: 'host:port' takes a connection, an http(s) address answers below 500.

        Raises:
            Retryable: it does not.
        """
        ...

    def certificate(self, address: str, server_name: str | None, ca: str | None) -> Certificate:
        """Return a server's certificate: valid now, for that name, and from an authority that is trusted.

        Args:
            address: 'host:port'.
            server_name: the name that it must be for; the host if None.
            ca: PEM file of the authorities to trust; the system's if None.

        Raises:
            Refused: it is not accepted, or the authorities cannot be read.
            Retryable: no TLS connection came about.
        """
        ...
