"""What there is on a Prefect server, and what is to be changed there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What is put on the server, in the order in which each needs those before it."""

    BLOCK = "block"
    POOL = "work pool"
    DEPLOYMENT = "deployment"
    AUTOMATION = "automation"


ORDER = tuple(Kind)


@dataclass(frozen=True)
class Resource:
    """One thing on the server, said without any id of the server's.

    Args:
        kind: what it is.
        name: of a deployment with its flow's: 'release/slipway'.
        spec: all that is said of it, as plain data; what is not said is not there.
        stopped: somebody has paused it, or switched it off; never said of what is wanted.
    """

    kind: Kind
    name: str
    spec: Mapping[str, object] = field(hash=False)
    stopped: bool = False

    def __str__(self) -> str:
        """Return 'deployment release/slipway'."""
        return f"{self.kind} {self.name}"


class Verb(StrEnum):
    """What is done with a resource."""

    MAKE = "make"
    CHANGE = "change"
    REMOVE = "remove"


@dataclass(frozen=True)
class Change:
    """One step: what is done, with what, and why.

    Args:
        verb: what is done.
        resource: as it is wanted; one to be removed, as it was found.
        differences: what is not as it is wanted, one line each; for changes only.
    """

    verb: Verb
    resource: Resource
    differences: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return 'change deployment release/slipway'."""
        return f"{self.verb} {self.resource}"


@dataclass(frozen=True)
class Plan:
    """What makes the server as it is wanted.

    Args:
        changes: in order.
        stopped: what a person has stopped; it stays so.
    """

    changes: tuple[Change, ...]
    stopped: tuple[Resource, ...]


@dataclass(frozen=True)
class FlowSpec:
    """A flow that can be deployed: its part of prefect.yaml, and the form that its code gives.

    Args:
        name: 'release'.
        description: what it does.
        entrypoint: module and function: 'flows.release.release'.
        tags: of its runs.
        pool: whose workers run it.
        form: JSON Schema of its parameters.
        job_variables: how the worker starts it.
        limit: how many run at once, and what becomes of others; None for as many as there are.
        schedules: with a slug each, as in prefect.yaml.
        triggers: events that start it, as in prefect.yaml.
    """

    name: str
    description: str
    entrypoint: str
    tags: tuple[str, ...]
    pool: str
    form: Mapping[str, object] = field(hash=False)
    job_variables: Mapping[str, object] = field(default_factory=dict, hash=False)
    limit: Mapping[str, object] | None = field(default=None, hash=False)
    schedules: tuple[Mapping[str, object], ...] = field(default=(), hash=False)
    triggers: tuple[Mapping[str, object], ...] = field(default=(), hash=False)
