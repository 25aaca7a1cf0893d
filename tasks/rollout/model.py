"""The nouns of a rollout: slots, instances, routing, stages, steps."""

from dataclasses import dataclass, field
from enum import StrEnum

from tasks.common.model import Check, Probes, Resources
from tasks.common.units import show_percent

SLOTS = ("blue", "green")
"""The two places that releases of a service alternate between, in every environment."""


class Health(StrEnum):
    """What a runtime knows of an instance."""

    STARTING = "starting"
    READY = "ready"
    FAILING = "failing"
    """It runs, but its readiness probe fails."""
    DEAD = "dead"
    """It was started and has ended; nothing listens any more."""


@dataclass(frozen=True)
class Instance:
    """One instance, as its runtime sees it. Slot and index name it; address is 'host:port'."""

    slot: str
    index: int
    release: str
    address: str
    health: Health


class Admission(StrEnum):
    """What a router does with a member."""

    IN = "in"
    """New requests go to it, if its slot has weight."""
    DRAINING = "draining"
    """No new requests; the open ones are finished."""
    OUT = "out"


@dataclass(frozen=True)
class Member:
    """One instance, as its router sees it."""

    slot: str
    index: int
    address: str
    admission: Admission
    up: bool
    """The router's own health check passes."""
    open_requests: int


@dataclass(frozen=True)
class Routing:
    """What a router does now.

    Args:
        weights: share of new requests by slot, in per cent with three decimals; the values sum to 100, or all are 0.
        members: every member that the router knows and that is not OUT.
        persisted: a restart of the router would bring back the same weights and members.
    """

    weights: dict[str, float]
    members: tuple[Member, ...]
    persisted: bool = True


@dataclass(frozen=True)
class Observed:
    """Everything that a plan is made from."""

    instances: tuple[Instance, ...]
    routing: Routing


@dataclass(frozen=True)
class Workload:
    """One release of one service, as a runtime needs to know it. Secrets are references, resolved at start."""

    service: str
    release: str
    digest: str
    command: tuple[str, ...]
    port_variable: str
    env: dict[str, str]
    secrets: dict[str, str]
    probes: Probes
    drain_s: float
    resources: Resources


@dataclass(frozen=True)
class Roles:
    """Which release in which slot is the candidate, and which is stable (none at the very first release)."""

    candidate_slot: str
    candidate_release: str
    stable_slot: str
    stable_release: str | None


@dataclass(frozen=True)
class Stage:
    """A desired state: so many instances of each, so much traffic to the candidate, watched for so long."""

    name: str
    candidate: int
    stable: int
    weight_percent: float
    soak_s: float = 0.0
    analysis: tuple[Check, ...] = ()

    def __str__(self) -> str:
        """Return 'canary 5 %: 1 candidate, 2 stable'."""
        return f"{self.name}: {self.candidate} candidate, {self.stable} stable, {show_percent(self.weight_percent)}"


@dataclass(frozen=True)
class Limits:
    """What must hold between stages: instances that serve at least, instances that exist at most."""

    floor: int
    ceiling: int


@dataclass(frozen=True)
class Start:
    """Start instances of a release in a slot."""

    slot: str
    release: str
    indexes: tuple[int, ...]


@dataclass(frozen=True)
class AwaitReady:
    """Wait until the instances answer their readiness probe."""

    slot: str
    indexes: tuple[int, ...]


@dataclass(frozen=True)
class Admit:
    """Make the instances known to the router; they get traffic when their slot has weight."""

    slot: str
    indexes: tuple[int, ...]


@dataclass(frozen=True)
class Shift:
    """Give each slot its share of the new requests, in per cent."""

    weights: dict[str, float] = field(hash=False)


@dataclass(frozen=True)
class Drain:
    """Send no new requests to the instances, and wait for the open ones."""

    slot: str
    indexes: tuple[int, ...]


@dataclass(frozen=True)
class Stop:
    """End the instances."""

    slot: str
    indexes: tuple[int, ...]


Step = Start | AwaitReady | Admit | Shift | Drain | Stop
