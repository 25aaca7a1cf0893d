"""What the nodes of a cluster under Patroni said, as the cluster that it is. Nothing is asked here."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from blocks.clusters.patroni_api import Reported
from blocks.clusters.postgresql_node import Said
from tasks.common.sites import Cluster, ClusterRole, Node, NodeRole, NodeState


@dataclass(frozen=True)
class Seen:
    """All answers of one look.

    Args:
        reports: what Patroni said, by node; None where it did not.
        said: what the database itself said, by node; None where it did not.
        config: the cluster's configuration; None where nothing has it to say.
        follows: 'host:port' of what it follows by that; '' for nobody.
        source: what that server said.
    """

    reports: dict[str, Reported | None]
    said: dict[str, Said | None]
    config: dict[str, Any] | None
    follows: str
    source: Said | None

    @property
    def silent(self) -> bool:
        """Return whether nothing of the cluster has answered."""
        return self.config is None and not any(self.reports.values()) and not any(self.said.values())


def cluster_of(name: str, seen: Seen) -> Cluster:
    """Return the cluster of that name as it was seen."""
    nodes = tuple(_node(node, seen.reports[node], said) for node, said in seen.said.items())
    role = _role(seen.config)
    leader = _leading(nodes, seen)
    standby = leader is not None and role is ClusterRole.STANDBY and not leader.writable
    lag_bytes = lag_s = None
    if leader is not None and standby:
        if seen.source is not None:
            lag_bytes = max(0, seen.source.lsn - leader.lsn)
        lag_s = 0.0 if lag_bytes == 0 else leader.replayed_age_s
    managed, problem = _managed(seen)
    return Cluster(
        name=name,
        role=role,
        system_id=_system_id(seen),
        nodes=nodes,
        seen_at=datetime.now(UTC),
        follows=seen.follows,
        streaming=standby and leader is not None and leader.streaming,
        lag_bytes=lag_bytes,
        lag_s=lag_s,
        replayed_at=leader.replayed_at if leader is not None and standby else None,
        managed=managed,
        problem=problem,
    )


def _node(name: str, report: Reported | None, said: Said | None) -> Node:
    role = NodeRole.UNKNOWN if report is None else NodeRole.LEADER if report.leads else NodeRole.REPLICA
    if said is None:
        return Node(name, role, _state(report), synchronous=report is not None and report.synchronous)
    synchronous = report is not None and report.synchronous
    return Node(name, role, NodeState.RUNNING, said.writable, said.timeline, said.lsn, synchronous)


def _state(report: Reported | None) -> NodeState:
    """Return how a node is whose database does not answer.

    *Source:* PostgresqlState in Patroni's postgresql/misc.py.
    """
    if report is None or report.state in ("running", "unknown", "stop failed", "stopping"):
        return NodeState.UNREACHABLE
    dead = ("stopped", "crashed", "start failed", "initdb failed", "custom bootstrap failed")
    return NodeState.STOPPED if report.state in dead else NodeState.STARTING


def _leading(nodes: tuple[Node, ...], seen: Seen) -> Said | None:
    names = [node.name for node in nodes if node.role is NodeRole.LEADER]
    return seen.said[names[0]] if len(names) == 1 else None


def _role(config: dict[str, Any] | None) -> ClusterRole:
    if config is None:
        return ClusterRole.UNKNOWN
    standby = config.get("standby_cluster")
    if not isinstance(standby, dict) or not any(standby.get(key) for key in ("host", "port", "restore_command")):
        return ClusterRole.PRIMARY
    return ClusterRole.STANDBY if standby.get("host") else ClusterRole.FENCED


def followed(config: dict[str, Any] | None) -> str:
    """Return 'host:port' of what a standby cluster follows by its configuration; '' for others."""
    if _role(config) is not ClusterRole.STANDBY or config is None:
        return ""
    standby = config["standby_cluster"]
    return f"{standby['host']}:{standby.get('port') or 5432}"


def _system_id(seen: Seen) -> str:
    said = [one.system_id for one in seen.said.values() if one is not None]
    reported = [one.system_id for one in seen.reports.values() if one is not None and one.system_id]
    return next(iter(said + reported), "")


def _managed(seen: Seen) -> tuple[bool, str]:
    """Return whether what manages the cluster may act, and why not."""
    reports = [report for report in seen.reports.values() if report is not None]
    if seen.config is None:
        return False, "what keeps the cluster's configuration does not answer"
    if not reports:
        return False, "Patroni answers on no node"
    if any(report.paused for report in reports):
        return False, "Patroni is paused"
    ttl_s = float(seen.config.get("ttl") or 30)
    if min(report.store_age_s for report in reports) > ttl_s:
        return False, "no node's Patroni reaches what keeps the cluster's configuration"
    silent = [name for name, said in seen.said.items() if said is None]
    return True, f"no answer from the database of {', '.join(silent)}" if silent else ""
