"""What Amazon RDS said of a site's database, as the cluster that it is. Nothing is asked here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tasks.common.sites import Cluster, ClusterRole, Node, NodeRole, NodeState

# *Source:* RDS User Guide, "Viewing DB instance status": those in which the database can be used.
_RUNNING = {
    "available",
    "backing-up",
    "configuring-enhanced-monitoring",
    "configuring-iam-database-auth",
    "configuring-log-exports",
    "modifying",
    "storage-config-upgrade",
    "storage-optimization",
}


@dataclass(frozen=True)
class Lag:
    """How far a replica was behind, as CloudWatch has it.

    Args:
        seconds: how far.
        at: when that was measured; aware.
    """

    seconds: float
    at: datetime


@dataclass(frozen=True)
class Told:
    """All answers of one look.

    Args:
        name: of the instance or the cluster.
        seen_at: when it was asked; aware.
        peers: 'host:port' of the other sites' databases, by ARN.
        instances: descriptions of the instance, or of those of the cluster.
        cluster: description of the cluster; None for an instance.
        everywhere: description of the Aurora global database; None where it is none.
        lag: of a replica; None where CloudWatch has none.
    """

    name: str
    seen_at: datetime
    peers: Mapping[str, str]
    instances: tuple[Mapping[str, Any], ...]
    cluster: Mapping[str, Any] | None = None
    everywhere: Mapping[str, Any] | None = None
    lag: Lag | None = None
    data: str = field(init=False)
    source: str = field(init=False)

    def __post_init__(self) -> None:
        """What is followed, and whose data it is, follow from the rest."""
        object.__setattr__(self, "source", self._source())
        object.__setattr__(self, "data", self._data())

    @property
    def arn(self) -> str:
        """Return the ARN of the instance or the cluster."""
        return str(self.cluster["DBClusterArn"] if self.cluster is not None else self.instances[0]["DBInstanceArn"])

    @property
    def busy(self) -> bool:
        """Return whether RDS is changing its role now: an operation of the Aurora global database is on its way."""
        return bool((self.everywhere or {}).get("FailoverState", {}).get("Status"))

    def _source(self) -> str:
        """Return the ARN of what is followed; '' for nobody."""
        if self.everywhere is not None:
            writers = [each["DBClusterArn"] for each in self.everywhere["GlobalClusterMembers"] if each["IsWriter"]]
            return "" if writers == [self.arn] else str(next(iter(writers), "nobody"))
        if self.cluster is not None:
            return str(self.cluster.get("ReplicationSourceIdentifier") or "")
        first = self.instances[0]
        return str(
            first.get("ReadReplicaSourceDBInstanceIdentifier")
            or first.get("ReadReplicaSourceDBClusterIdentifier")
            or ""
        )

    def _data(self) -> str:
        if self.everywhere is not None:
            return str(self.everywhere["GlobalClusterResourceId"])
        return self.source or self.arn


def cluster_of(told: Told) -> Cluster:
    """Return the cluster as RDS describes it."""
    role = _role(told)
    lag = told.lag if role is ClusterRole.STANDBY else None
    problem = ""
    if role is ClusterRole.UNKNOWN:
        problem = "it is no member of the Aurora global database, or that changes now"
    elif role is ClusterRole.STANDBY and lag is None:
        problem = "CloudWatch does not say how far it is behind"
    return Cluster(
        name=told.name,
        role=role,
        system_id=told.data,
        nodes=tuple(sorted((_node(told, each, role) for each in told.instances), key=lambda node: node.name)),
        seen_at=told.seen_at,
        follows=told.peers.get(told.source, told.source) if role is ClusterRole.STANDBY else "",
        streaming=role is ClusterRole.STANDBY and _receives(told),
        # It was so far behind when it was measured; since then nobody knows.
        lag_s=None if lag is None else lag.seconds + max(0.0, (told.seen_at - lag.at).total_seconds()),
        replayed_at=None if lag is None else datetime.fromtimestamp(lag.at.timestamp() - lag.seconds, lag.at.tzinfo),
        managed=not told.busy,
        problem=problem,
    )


def _role(told: Told) -> ClusterRole:
    if told.everywhere is not None:
        members = [each["DBClusterArn"] for each in told.everywhere["GlobalClusterMembers"]]
        if told.arn not in members or told.busy:
            return ClusterRole.UNKNOWN
    return ClusterRole.STANDBY if told.source else ClusterRole.PRIMARY


def _node(told: Told, instance: Mapping[str, Any], role: ClusterRole) -> Node:
    name, status = str(instance["DBInstanceIdentifier"]), str(instance["DBInstanceStatus"])
    state = NodeState.STARTING
    if status in _RUNNING:
        state = NodeState.RUNNING
    elif status in ("stopped", "failed"):
        state = NodeState.STOPPED
    leads = told.cluster is None or name in _writers(told.cluster)
    writable = None
    if role is ClusterRole.STANDBY or state is NodeState.STOPPED or (not leads and role is ClusterRole.PRIMARY):
        writable = False
    elif role is ClusterRole.PRIMARY and state is NodeState.RUNNING:
        writable = True
    return Node(name, NodeRole.LEADER if leads else NodeRole.REPLICA, state, writable)


def _writers(cluster: Mapping[str, Any]) -> list[str]:
    return [each["DBInstanceIdentifier"] for each in cluster["DBClusterMembers"] if each["IsClusterWriter"]]


def _receives(told: Told) -> bool:
    """Return whether RDS says that it receives from what it follows."""
    if told.everywhere is not None:
        states = {
            each["DBClusterArn"]: each.get("SynchronizationStatus") for each in told.everywhere["GlobalClusterMembers"]
        }
        return states.get(told.arn) == "connected"
    infos = (told.cluster or told.instances[0]).get("StatusInfos") or ()
    return any(each.get("StatusType") == "read replication" and each.get("Normal") for each in infos)
