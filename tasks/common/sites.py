"""Sites of one service: where they are, and the database cluster of each as it was asked. Pure.

A *region* is a place, as the estate file has it. A *site* is one service's database cluster and entrance in a region.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RegionRole(StrEnum):
    """What a region is for while nothing is wrong."""

    PRIMARY = "primary"
    """It serves, and its database takes the writes."""
    STANDBY = "standby"
    """It follows a primary, and can take its place."""


@dataclass(frozen=True)
class Region:
    """A place that services run in (DR-3).

    Args:
        name: as the estate file has it.
        role: what it is for while nothing is wrong; which site takes writes now is observed, and never read here.
        zone: where its data may be: nothing fails over out of its zone.
        capacity_percent: the share of all users' load that it can take, 0 to 100.
        priority: among the standbys of a zone the lowest comes first; from 1.
    """

    name: str
    role: RegionRole
    zone: str
    capacity_percent: float
    priority: int


class NodeRole(StrEnum):
    """What a member of a cluster is in it."""

    LEADER = "leader"
    """The primary; in a standby cluster the member that follows the other site."""
    REPLICA = "replica"
    """It follows the leader."""
    UNKNOWN = "unknown"
    """It did not say."""


class NodeState(StrEnum):
    """Whether a member of a cluster works."""

    RUNNING = "running"
    STARTING = "starting"
    """It starts, recovers or is being filled."""
    STOPPED = "stopped"
    """It was asked, and its database does not run."""
    UNREACHABLE = "unreachable"
    """It did not answer: whether it runs is not known."""


@dataclass(frozen=True)
class Node:
    """One member of a cluster, asked directly, and past any proxy.

    Args:
        name: unique over all sites.
        role: by what manages the cluster.
        state: whether it works.
        writable: whether it takes writes, as the database itself says; None where it did not say.
        timeline: of its history; None where it did not say.
        lsn: how far it has written (a leader that is no standby) or has received and can replay, in bytes from the
            beginning; None where it did not say.
        synchronous: whether it is a standby that a commit is waited for.
    """

    name: str
    role: NodeRole
    state: NodeState
    writable: bool | None = None
    timeline: int | None = None
    lsn: int | None = None
    synchronous: bool = False


class ClusterRole(StrEnum):
    """What a site's cluster is, by its own configuration (not by which of its nodes are up)."""

    PRIMARY = "primary"
    """One of its nodes takes writes, or will when it is up."""
    STANDBY = "standby cluster"
    """It follows another site: none of its nodes takes writes, nor will by itself."""
    FENCED = "fenced"
    """It follows nobody, and none of its nodes takes writes, nor will by itself: not after a restart either."""
    UNKNOWN = "unknown"
    """Neither can be shown: what keeps the configuration does not answer."""


@dataclass(frozen=True)
class Cluster:
    """A site's database cluster, as it was asked.

    Args:
        name: of the cluster, as it calls itself: 'campus-a'.
        role: by its configuration.
        system_id: PostgreSQL's system identifier (another vendor's: whatever tells one set of data from another);
            '' where no node said.
        nodes: its members by name, those that did not answer included.
        seen_at: when it was asked; aware.
        follows: 'host:port' of what a standby cluster follows; '' for others.
        streaming: whether a standby cluster receives from what it follows now.
        lag_bytes: what its source has written and it has not received, asked of the source at the same time; None where
            it is no standby, or the source did not say.
        lag_s: how old the last transaction is that a standby has received and can replay, by its own clock, and 0 while
            it is known to have all; grows while nothing is written and while the source is away; None where it did
            not say.
        replayed_at: when that transaction was committed, by the clock of the source; aware; None where it did not say.
        managed: whether what manages the cluster works and may act (Patroni: not paused, and has its DCS).
        problem: why something above is not known, one sentence, without secrets; '' where all is known.
    """

    name: str
    role: ClusterRole
    system_id: str
    nodes: tuple[Node, ...]
    seen_at: datetime
    follows: str = ""
    streaming: bool = False
    lag_bytes: int | None = None
    lag_s: float | None = None
    replayed_at: datetime | None = None
    managed: bool = True
    problem: str = ""

    @property
    def leader(self) -> Node | None:
        """Return the member that leads; None where there is none, or several say so."""
        found = [node for node in self.nodes if node.role is NodeRole.LEADER]
        return found[0] if len(found) == 1 else None

    @property
    def writable(self) -> tuple[str, ...]:
        """Return the names of the members that take writes; more than one is a split brain."""
        return tuple(node.name for node in self.nodes if node.writable)

    @property
    def silent(self) -> tuple[str, ...]:
        """Return the names of the members of whom it is not known whether they take writes."""
        return tuple(node.name for node in self.nodes if node.writable is None and node.state is not NodeState.STOPPED)

    @property
    def stopped_writing(self) -> bool:
        """Return whether it is shown, by every node, that nobody of it takes writes, nor will by itself."""
        quiet = self.role in (ClusterRole.STANDBY, ClusterRole.FENCED)
        return quiet and not self.writable and not self.silent

    @property
    def serves(self) -> bool:
        """Return whether it is a primary with one node, and no more, that takes writes."""
        return self.role is ClusterRole.PRIMARY and len(self.writable) == 1

    @property
    def timeline(self) -> int | None:
        """Return the leader's timeline; else the highest of any member; None where none said."""
        said = [node.timeline for node in self.nodes if node.timeline is not None]
        if self.leader is not None and self.leader.timeline is not None:
            return self.leader.timeline
        return max(said, default=None)

    @property
    def lsn(self) -> int | None:
        """Return how far the leader is; else the furthest of any member; None where none said."""
        said = [node.lsn for node in self.nodes if node.lsn is not None]
        if self.leader is not None and self.leader.lsn is not None:
            return self.leader.lsn
        return max(said, default=None)


@dataclass(frozen=True)
class Upstream:
    """What a standby cluster follows.

    Args:
        site: name of the region, for people.
        host: where the other site's primary answers.
        port: and on which port.
        system_id: of its data: a cluster of other data must not follow it.
    """

    site: str
    host: str
    port: int
    system_id: str

    def __str__(self) -> str:
        """Return 'host:port'."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Door:
    """A site's entrance for users, and the site's uplink: both or neither.

    Args:
        open: whether users can reach the site's database and applications through it; None where it is not known.
        holds: whether a closed one stays closed when the site and its machines start again.
        problem: why it is not known, one sentence; '' where it is.
    """

    open: bool | None
    holds: bool = True
    problem: str = ""

    @property
    def shut(self) -> bool:
        """Return whether it is shown that nobody gets in, and that nobody will by a restart."""
        return self.open is False and self.holds


@dataclass(frozen=True)
class Answer:
    """What a DNS server answers for a name.

    Args:
        name: that was asked for, without a dot at its end.
        addresses: IPv4 and IPv6 addresses, sorted; none where the name has none.
        ttl_s: how long resolvers may keep it, in seconds.
    """

    name: str
    addresses: tuple[str, ...]
    ttl_s: int
