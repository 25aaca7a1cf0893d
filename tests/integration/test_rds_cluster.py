"""Amazon RDS as a site's database, by two fakes: moto, and one of ours for what moto lacks. No real one was asked.

The contract of the port is not run over it: RDS neither fences nor follows back. What it does in their place is here.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from pydantic import ValidationError

from blocks.clusters.rds import RdsCluster
from blocks.context import Context
from tasks.common.errors import Refused, Retryable
from tasks.common.lease import LeaseLost
from tasks.common.sites import ClusterRole, NodeRole, NodeState, Upstream
from tests.support.grants import DEFAULT, lost
from tests.support.processes import free_port, short_folder
from tests.support.rds import A, B, FakeRds, arn, running_fake_rds
from tests.support.s3 import running_moto

pytestmark = pytest.mark.server
_OF_A = {arn("db", A, "campus-a"): "campus-a.example.org:5432", arn("cluster", A, "shop-a"): "shop-a.example.org:5432"}
_SOURCE = Upstream("eu-central", "campus-a.example.org", 5432, "1")
_NEW = {"MasterUsername": "admin", "MasterUserPassword": "not-a-secret"}


class Account:
    """An account of Amazon's at a fake's address."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint = endpoint
        self.folder = folder
        (folder / "key").write_text("test")

    def client(self, service: str, region: str) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.session.Session().client(service, endpoint_url=self.endpoint, region_name=region, **keys)

    def site(self, grant: Any = DEFAULT, **settings: object) -> RdsCluster:
        given = {
            "endpoint": self.endpoint,
            "access_key": "file:key",
            "secret_key": "file:key",
            "region": B,
            "peers": _OF_A,
            "within": "20s",
        }
        made = RdsCluster.Settings.model_validate({**given, **settings})
        return RdsCluster(made, Context(self.folder, grant=grant))


@pytest.fixture(scope="module")
def moto() -> Iterator[Account]:
    with short_folder() as folder, running_moto(folder) as server:
        account = Account(server.endpoint, folder)
        source = account.client("rds", A).create_db_instance(
            DBInstanceIdentifier="campus-a",
            Engine="postgres",
            DBInstanceClass="db.t3.micro",
            AllocatedStorage=20,
            **_NEW,
        )["DBInstance"]["DBInstanceArn"]
        account.client("rds", B).create_db_instance_read_replica(
            DBInstanceIdentifier="campus-b", SourceDBInstanceIdentifier=source
        )
        rds = account.client("rds", A)
        rds.create_db_cluster(DBClusterIdentifier="shop-a", Engine="aurora-postgresql", **_NEW)
        for name in ("shop-a-1", "shop-a-2"):
            rds.create_db_instance(
                DBInstanceIdentifier=name,
                DBClusterIdentifier="shop-a",
                Engine="aurora-postgresql",
                DBInstanceClass="db.r5.large",
            )
        yield account


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[tuple[FakeRds, Account]]:
    with running_fake_rds() as (fake, endpoint):
        yield fake, Account(endpoint, tmp_path)


def test_replica_is_a_standby_of_its_source_with_the_lag_that_cloudwatch_has_on_moto_a_fake(moto: Account) -> None:
    measured = datetime.now(UTC) - timedelta(minutes=2)
    figure = {"MetricName": "ReplicaLag", "Value": 3.0, "Timestamp": measured}
    dimensions = [{"Name": "DBInstanceIdentifier", "Value": "campus-b"}]
    moto.client("cloudwatch", B).put_metric_data(Namespace="AWS/RDS", MetricData=[{**figure, "Dimensions": dimensions}])
    a, b = moto.site(instance="campus-a", region=A).observe(), moto.site(instance="campus-b").observe()
    assert (a.role, b.role) == (ClusterRole.PRIMARY, ClusterRole.STANDBY)
    assert a.serves and b.stopped_writing
    assert b.follows == "campus-a.example.org:5432"
    assert a.system_id == b.system_id == arn("db", A, "campus-a")
    assert b.lag_s is not None and 120 <= b.lag_s < 600
    assert b.replayed_at is not None and b.replayed_at <= measured - timedelta(seconds=3)
    assert b.lsn is b.lag_bytes is None, "RDS says no position: a planned move is refused by it"


def test_other_instance_of_an_aurora_cluster_leads_once_it_is_told_to_on_moto_a_fake(moto: Account) -> None:
    site = moto.site(cluster="shop-a", region=A)
    assert [node.role for node in site.observe().nodes] == [NodeRole.LEADER, NodeRole.REPLICA]
    assert site.observe().writable == ("shop-a-1",)
    for _ in range(2):
        site.switch_over("shop-a-2")
        assert site.observe().writable == ("shop-a-2",)
    site.fail_over()
    assert site.observe().writable == ("shop-a-2",), "a writer that works is left alone"
    site.fail_over("shop-a-1")
    assert site.observe().writable == ("shop-a-1",)
    with pytest.raises(Refused, match="no instance 'nobody'"):
        site.switch_over("nobody")


def test_stopped_instance_takes_no_writes_and_is_a_primary_still_on_moto_a_fake(moto: Account) -> None:
    rds = moto.client("rds", A)
    rds.create_db_instance(
        DBInstanceIdentifier="alone", Engine="postgres", DBInstanceClass="db.t3.micro", AllocatedStorage=20, **_NEW
    )
    rds.stop_db_instance(DBInstanceIdentifier="alone")
    seen = moto.site(instance="alone", region=A).observe()
    assert [node.state for node in seen.nodes] == [NodeState.STOPPED]
    assert seen.role is ClusterRole.PRIMARY and not seen.writable and not seen.stopped_writing
    with pytest.raises(Refused, match="fail over"):
        moto.site(instance="alone", region=A).fail_over()


def test_database_that_is_not_there_is_refused_on_moto_a_fake(moto: Account) -> None:
    with pytest.raises(Refused, match="DBInstanceNotFound"):
        moto.site(instance="nowhere").observe()


def test_replica_that_is_promoted_takes_writes_on_a_fake_of_ours(ours: tuple[FakeRds, Account]) -> None:
    fake, account = ours
    site = account.site(instance="campus-b")
    assert site.observe().streaming
    for _ in range(2):
        site.promote()
        seen = site.observe()
        assert seen.serves and not seen.follows
    assert fake.called == ["PromoteReadReplica"]


def test_member_of_an_aurora_global_database_that_is_promoted_takes_writes_on_a_fake_of_ours(
    ours: tuple[FakeRds, Account],
) -> None:
    fake, account = ours
    site = account.site(cluster="shop-b", global_cluster="shop")
    before = site.observe()
    assert before.role is ClusterRole.STANDBY and before.streaming and before.stopped_writing
    assert (before.follows, before.system_id) == ("shop-a.example.org:5432", "cluster-0123456789")
    for _ in range(2):
        site.promote()
        assert site.observe().serves
    assert fake.called == ["FailoverGlobalCluster with a loss"]


def test_failover_of_a_global_database_that_another_has_begun_is_waited_for_on_a_fake_of_ours(
    ours: tuple[FakeRds, Account],
) -> None:
    fake, account = ours
    fake.to, fake.slow = arn("cluster", B, "shop-b"), 3
    site = account.site(cluster="shop-b", global_cluster="shop")
    seen = site.observe()
    assert seen.role is ClusterRole.UNKNOWN and not seen.managed and not seen.stopped_writing
    site.promote()
    assert site.observe().serves and fake.called == []


def test_promotion_that_does_not_end_in_time_may_be_asked_for_again_on_a_fake_of_ours(
    ours: tuple[FakeRds, Account],
) -> None:
    fake, account = ours
    fake.slow = 10**6
    with pytest.raises(Retryable, match="not seen to take writes within"):
        account.site(instance="campus-b", within="1s").promote()
    fake.slow = 1
    account.site(instance="campus-b").promote()
    assert account.site(instance="campus-b").observe().serves


def test_cluster_that_is_no_member_of_the_global_database_is_not_promoted_on_a_fake_of_ours(
    ours: tuple[FakeRds, Account],
) -> None:
    fake, account = ours
    fake.members = (arn("cluster", A, "shop-a"),)
    with pytest.raises(Refused, match="no member"):
        account.site(cluster="shop-b", global_cluster="shop").promote()


def test_database_that_was_a_primary_is_to_be_created_anew_and_is_told_how_on_a_fake_of_ours(
    ours: tuple[FakeRds, Account],
) -> None:
    _, account = ours
    site = account.site(instance="campus-b")
    site.follow(_SOURCE)
    site.promote()
    with pytest.raises(Refused, match="make a replica of a database that was a primary") as caught:
        site.follow(_SOURCE, rebuild=True)
    assert arn("db", A, "campus-a") in caught.value.next_action


def test_old_primary_of_a_global_database_follows_when_rds_has_brought_it_about_on_a_fake_of_ours(
    ours: tuple[FakeRds, Account],
) -> None:
    fake, account = ours
    fake.writer = arn("cluster", B, "shop-b")
    fake.to, fake.slow = arn("cluster", A, "shop-a"), 2
    site = account.site(cluster="shop-b", global_cluster="shop")
    site.follow(Upstream("eu-central", "shop-a.example.org", 5432, "1"))
    assert site.observe().follows == "shop-a.example.org:5432"


def test_fence_is_refused_and_says_what_holds_in_its_place_on_a_fake_of_ours(ours: tuple[FakeRds, Account]) -> None:
    fake, account = ours
    with pytest.raises(Refused, match="RDS can keep nobody from writing") as caught:
        account.site(instance="campus-b").fence()
    assert "door" in caught.value.next_action
    assert fake.called == []


def test_nothing_is_promoted_without_a_lease_on_a_fake_of_ours(ours: tuple[FakeRds, Account]) -> None:
    fake, account = ours
    with pytest.raises(Refused, match="lease"):
        account.site(None, instance="campus-b").promote()
    with pytest.raises(LeaseLost):
        account.site(lost(), instance="campus-b").promote()
    assert fake.called == []


def test_region_that_does_not_answer_is_not_taken_for_stopped(tmp_path: Path) -> None:
    account = Account(f"http://127.0.0.1:{free_port()}", tmp_path)
    with pytest.raises(Retryable, match="RDS did not answer"):
        account.site(instance="campus-b").observe()


@pytest.mark.parametrize("settings", [{}, {"instance": "a", "cluster": "b"}, {"instance": "a", "global_cluster": "g"}])
def test_settings_name_one_database(tmp_path: Path, settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="expected"):
        Account("http://127.0.0.1:1", tmp_path).site(**settings)
