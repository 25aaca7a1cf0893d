"""A site's database in Amazon RDS: an instance, an Aurora cluster, or a member of an Aurora global database.

RDS's word is taken: no database is asked. What RDS cannot do is refused, and said what to do in its place.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NoReturn, Self

from pydantic import Field, model_validator

from blocks import aws
from blocks.clusters.rds_view import Lag, Told, cluster_of
from blocks.context import Context
from blocks.fence import held
from tasks.common.errors import Refused, Retryable
from tasks.common.sites import Cluster, ClusterRole, NodeState, Upstream
from tasks.common.units import PositiveDuration, show_duration

_LOOK_EVERY_S = 1.0
_LAG_OF_LAST = timedelta(minutes=10)
_UNKNOWN = "whether it was taken is not known; it can be asked for again"


class RdsCluster:
    """Implements `SiteCluster` with Amazon RDS.

    Args:
        settings: which database, and how to sign in.
        context: resolves the keys; with a grant, it may be changed.
    """

    class Settings(aws.Account):
        """Settings of the driver `rds`."""

        instance: str = Field(default="", description="identifier of an RDS instance; or 'cluster', not both")
        cluster: str = Field(default="", description="identifier of an Aurora cluster")
        global_cluster: str = Field(
            default="", description="the Aurora global database that the cluster is a member of"
        )
        peers: dict[str, str] = Field(
            min_length=1, description="databases of the other sites: ARN, and their 'primary_at' of this file"
        )
        within_s: PositiveDuration = Field(
            default=900.0, alias="within", description="longest wait until a change has come about"
        )

        @model_validator(mode="after")
        def _one(self) -> Self:
            if bool(self.instance) == bool(self.cluster):
                raise ValueError("expected instance or cluster; found both or neither")
            if self.global_cluster and not self.cluster:
                raise ValueError("expected cluster beside global_cluster; found instance")
            return self

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._name = settings.instance or settings.cluster

    @property
    def where(self) -> str:
        """Return which database it is: 'campus-b of Amazon RDS in eu-west-1'."""
        return f"{self._name} of Amazon RDS in {self._settings.region}"

    def observe(self) -> Cluster:
        """Return the cluster as RDS describes it now; how far it is behind is CloudWatch's figure of some minutes ago.

        Raises:
            Retryable: RDS does not answer.
            Refused: it has no such database, or takes no questions from us.
        """
        return cluster_of(self._look())

    def switch_over(self, to: str) -> None:
        """The instance of an Aurora cluster is its writer. *Idempotent:* yes.

        Raises:
            Refused: no such instance, or it is not ready.
            Retryable: it did not come about in time.
        """
        cluster = self.observe()
        found = [node for node in cluster.nodes if node.name == to]
        if not found:
            names = ", ".join(node.name for node in cluster.nodes)
            raise Refused(f"there is no instance {to!r}", on=self.where, next_action=f"name one of: {names}")
        if cluster.leader == found[0]:
            return
        if found[0].state is not NodeState.RUNNING:
            raise Refused(f"{to} is not ready to lead: {found[0].state}", on=self.where, next_action="start it first")
        self._lead(to)

    def fail_over(self, to: str = "") -> None:
        """A writer works. *Idempotent:* yes; one that works is left alone.

        An instance's own standby is RDS's business: it takes over by itself.

        Raises:
            Refused: no instance is fit to lead, or no such one.
            Retryable: it did not come about in time.
        """
        if to:
            self.switch_over(to)
            return
        cluster = self.observe()
        leader = cluster.leader
        if leader is not None and leader.state is NodeState.RUNNING:
            return
        if self._settings.instance:
            raise Refused(
                "an instance has nobody within its site that it could be told to fail over to",
                on=self.where,
                next_action="a Multi-AZ instance does so by itself: look at its events; else fail over to another site",
            )
        if not any(node.state is NodeState.RUNNING for node in cluster.nodes if node != leader):
            raise Refused("no instance is fit to lead", on=self.where, next_action="add one, or use another site")
        self._lead("")

    def fence(self) -> None:
        """It is refused: nothing that RDS offers lasts and can be shown.

        One that has a replica or is one cannot be stopped, and one that is stopped is started again after 7 days;
        `default_transaction_read_only` is any session's to set; a security group leaves connections that are open.

        *Source:* RDS User Guide, "Stopping an Amazon RDS DB instance temporarily", limitations.

        Raises:
            Refused: always.
        """
        raise Refused(
            "RDS can keep nobody from writing in a way that lasts and can be shown",
            on=self.where,
            next_action="nothing, where the site's door is shut: no user reaches it; else shut the door by hand",
        )

    def promote(self) -> None:
        """It takes writes: a read replica stands alone, a member of an Aurora global database is its writer.

        Of an Aurora global database what was not replicated may be lost: who calls has weighed that.
        *Idempotent:* yes; a primary is left alone, and a promotion that is on its way is waited for.

        Raises:
            Refused: RDS does not do it.
            Retryable: it did not come about in time; calling again does the rest.
        """
        told = self._look()
        cluster = cluster_of(told)
        if cluster.role is ClusterRole.UNKNOWN and not told.busy:
            raise Refused(
                f"it is no member of the Aurora global database {self._settings.global_cluster}",
                on=self.where,
                next_action="add it there, or correct cluster and global_cluster in the estate file",
            )
        if cluster.role is ClusterRole.STANDBY:
            held(self._context.grant, self.where)
            with self._errors("its promotion"):
                self._promote(told)

        def serves(seen: Cluster) -> bool:
            return seen.serves

        self._await(serves, "it was not seen to take writes")

    def follow(self, source: Upstream, *, rebuild: bool = False) -> None:
        """It follows the source, if it does so already or RDS is about to bring it about. *Idempotent:* yes.

        RDS makes no replica of a database that was a primary; after a failover of an Aurora global database, it makes
        the old primary a member again by itself, which is waited for.

        Raises:
            Refused: it would have to be created anew; how.
            Retryable: RDS has not brought it about in time.
        """
        del rebuild
        known = [arn for arn, place in self._settings.peers.items() if place == str(source)]

        def follows(seen: Cluster) -> bool:
            return seen.role is ClusterRole.STANDBY and seen.follows == str(source)

        if follows(self.observe()):
            return
        if self._settings.global_cluster:
            self._await(follows, f"RDS has not made it follow {source.site} yet")
            return
        create = "create-db-cluster --replication-source-identifier"
        if self._settings.instance:
            create = "create-db-instance-read-replica --source-db-instance-identifier"
        raise Refused(
            "RDS does not make a replica of a database that was a primary",
            on=self.where,
            state=f"nothing follows {source.site} here",
            next_action=f"keep what only this one has, then create a replica in its place: aws rds {create} "
            f"{next(iter(known), 'ARN')} --region {self._settings.region}",
        )

    def _promote(self, told: Told) -> None:
        if self._settings.instance:
            self._rds.promote_read_replica(DBInstanceIdentifier=self._name)
        elif self._settings.global_cluster:
            self._rds.failover_global_cluster(
                GlobalClusterIdentifier=self._settings.global_cluster,
                TargetDbClusterIdentifier=told.arn,
                AllowDataLoss=True,
            )
        else:
            self._rds.promote_read_replica_db_cluster(DBClusterIdentifier=self._name)

    def _lead(self, to: str) -> None:
        target = {"TargetDBInstanceIdentifier": to} if to else {}
        before = self.observe().leader
        held(self._context.grant, self.where)
        with self._errors("its failover"):
            self._rds.failover_db_cluster(DBClusterIdentifier=self._name, **target)

        def leads(seen: Cluster) -> bool:
            leader = seen.leader
            if leader is None or leader.state is not NodeState.RUNNING:
                return False
            return leader.name == to if to else before is None or leader.name != before.name

        self._await(leads, f"{to or 'another instance'} was not seen to lead")

    def _await(self, wanted: Callable[[Cluster], bool], what: str) -> None:
        deadline = time.monotonic() + self._settings.within_s
        seen = None
        while True:
            try:
                seen = self.observe()
                if wanted(seen):
                    return
            except Retryable:
                # RDS may be away for a moment: until the deadline it is asked again.
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                self._late(what, seen)
            time.sleep(_LOOK_EVERY_S)

    def _late(self, what: str, seen: Cluster | None) -> NoReturn:
        nodes = {node.name: f"{node.state}, {node.role}" for node in seen.nodes} if seen is not None else {}
        raise Retryable(
            f"{what} within {show_duration(self._settings.within_s)}",
            on=self.where,
            state=f"role {seen.role if seen is not None else 'not known'}",
            next_action="look at its events in the console of RDS; then do the same again",
            facts=nodes,
        )

    def _look(self) -> Told:
        settings, rds = self._settings, self._rds
        seen_at = datetime.now(UTC)
        with self._errors("its description"), ThreadPoolExecutor(max_workers=4) as threads:
            cluster = everywhere = None
            if settings.instance:
                asked = threads.submit(rds.describe_db_instances, DBInstanceIdentifier=self._name)
            else:
                filters = [{"Name": "db-cluster-id", "Values": [self._name]}]
                asked = threads.submit(rds.describe_db_instances, Filters=filters)
                cluster = threads.submit(rds.describe_db_clusters, DBClusterIdentifier=self._name)
            if settings.global_cluster:
                everywhere = threads.submit(
                    rds.describe_global_clusters, GlobalClusterIdentifier=settings.global_cluster
                )
            lag = threads.submit(self._lag, seen_at)
            return Told(
                self._name,
                seen_at,
                settings.peers,
                tuple(asked.result()["DBInstances"]),
                cluster.result()["DBClusters"][0] if cluster is not None else None,
                everywhere.result()["GlobalClusters"][0] if everywhere is not None else None,
                lag.result(),
            )

    def _lag(self, now: datetime) -> Lag | None:
        """Return the last figure that CloudWatch has; None where it has none, or does not answer."""
        name, kind, unit_s = "ReplicaLag", "DBInstanceIdentifier", 1.0
        if self._settings.global_cluster:
            name, kind, unit_s = "AuroraGlobalDBReplicationLag", "DBClusterIdentifier", 0.001
        elif self._settings.cluster:
            return None
        own = [{"Name": kind, "Value": self._name}]
        try:
            with self._errors("its lag"):
                # Aurora's figure has the region of its source as another dimension.
                known = self._watch.list_metrics(Namespace="AWS/RDS", MetricName=name, Dimensions=own)["Metrics"]
                points = self._watch.get_metric_statistics(
                    Namespace="AWS/RDS",
                    MetricName=name,
                    Dimensions=known[0]["Dimensions"] if known else own,
                    StartTime=now - _LAG_OF_LAST,
                    EndTime=now,
                    Period=60,
                    Statistics=["Maximum"],
                )["Datapoints"]
        except (Retryable, Refused):
            return None
        # -1 is PostgreSQL's for "not known".
        last = max((each for each in points if each["Maximum"] >= 0), key=lambda each: each["Timestamp"], default=None)
        return Lag(last["Maximum"] * unit_s, last["Timestamp"]) if last is not None else None

    # Kept, as it takes the SDK a second to make one, and a change is looked at every second.
    @cached_property
    def _rds(self) -> Any:
        return aws.client("rds", self._settings, self._context)

    @cached_property
    def _watch(self) -> Any:
        return aws.client("cloudwatch", self._settings, self._context)

    def _errors(self, what: str) -> Any:
        return aws.errors("RDS", f"{what}, {self.where}", self._context, _UNKNOWN)
