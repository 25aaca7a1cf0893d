"""A server that is not well holds a backfill, and a worker is not kept for that."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow

from flows.migrate import migrate
from tasks.common.migrations import HealthLimits, Phase
from tasks.common.run_steps import start_run
from tasks.common.schedules import DEPLOYMENT
from tasks.migration.conduct import OnHold
from tasks.migration.request import MigrateRequest
from tests.integration.migration.test_flow import Place
from tests.support.migrating import CUSTOMERS, fill, rows, way
from tests.support.postgresql import ROLE, Cluster, running_cluster
from tests.support.prefect_server import flows_of
from tests.support.processes import wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]
_READY = r"select count(*) from pg_ls_archive_statusdir() where name ~ '\.ready$'"


class Archive:
    """What a cluster archives its WAL into: nothing arrives while it is broken."""

    def __init__(self, cluster: Cluster, mark: Path) -> None:
        self.cluster, self.mark = cluster, mark

    def break_(self, address: str) -> None:
        self.mark.unlink(missing_ok=True)
        with self.cluster.as_superuser(address) as superuser:
            superuser.execute(f"grant pg_monitor to {ROLE}")
            superuser.execute("select pg_logical_emit_message(false, 'x', 'y'), pg_switch_wal()")
        wait_until(lambda: rows(address, _READY) != [(0,)], what="a segment that waits")

    def mend(self, address: str) -> None:
        self.mark.touch()
        wait_until(lambda: rows(address, _READY) == [(0,)], within_s=120, what="the archive")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("archiving")
    folder.chmod(0o755)
    settings = {"archive_mode": "on", "archive_command": f"test -e {folder}/mended"}
    with running_cluster(folder, settings=settings) as cluster:
        yield Archive(cluster, folder / "mended")


def test_archive_that_does_not_keep_up_holds_a_backfill_until_it_does(archive: Archive, tmp_path: Path) -> None:
    address = archive.cluster.database()
    fill(address, CUSTOMERS.format(rows=100))
    archive.break_(address)
    work = way(address, tmp_path)
    work.health = HealthLimits(wal_segments=0, autovacuum=False)
    with pytest.raises(OnHold, match="segments wait to be archived, 0 may"):
        work.apply(Phase.EXECUTE)
    assert work.target.observe().engine == ""
    work.health = HealthLimits(wal_segments=42, autovacuum=False)
    work.apply(Phase.EXECUTE)


def test_run_that_is_held_ends_its_process_and_the_same_run_finishes_later(
    archive: Archive, tmp_path: Path, prefect_api: str
) -> None:
    address = archive.cluster.database()
    fill(address, CUSTOMERS.format(rows=100))
    archive.break_(address)
    place = Place(tmp_path, address, archive.cluster.database(), prefect_api)
    place.describe(health={"wal_segments": 0, "autovacuum": False, "hold": "1s"})
    with flows_of(prefect_api), get_client(sync_client=True) as client:
        client.create_deployment(flow_id=client.create_flow(migrate), name=DEPLOYMENT)
        run_id = UUID(start_run("migrate", MigrateRequest(**place.where)))
        run = client.read_flow_run(run_id)
        with pytest.raises(Pause):
            run_flow(migrate, flow_run=run, parameters=run.parameters)
        held = client.read_flow_run(run_id).state
        assert held is not None
        assert (held.type.value, held.name) == ("SCHEDULED", "AwaitingRetry")
        assert "segments wait to be archived" in str(held.message)
        archive.mend(address)
        run_flow(migrate, flow_run=client.read_flow_run(run_id), parameters=run.parameters)
        ended = client.read_flow_run(run_id).state
        assert ended is not None and ended.is_completed()
    assert rows(address, "select done from slipway.migrations") == [("validate",)]


def test_each_measure_is_taken_where_the_role_may_and_said_to_be_missing_where_not(
    archive: Archive, tmp_path: Path
) -> None:
    address = archive.cluster.database()
    fill(address, CUSTOMERS.format(rows=10))
    archive.break_(address)
    work = way(address, tmp_path, data_folder=str(tmp_path))
    table = work.written[0].compiled().steps(Phase.EXECUTE)[0].table  # type: ignore[union-attr]
    found = work.target.measure([table])
    assert found.wal_waiting and found.vacuuming == () and found.replica_lag_s == 0.0
    assert found.disk_free_bytes and found.latency_ms is None
    with archive.cluster.as_superuser(address) as superuser:
        superuser.execute(f"revoke pg_monitor from {ROLE}")
    found = work.target.measure([table])
    assert found.vacuuming is None and found.replica_lag_s is None
    archive.mark.touch()
    with archive.cluster.as_superuser(address) as superuser:
        superuser.execute("select pg_logical_emit_message(false, 'x', 'y'), pg_switch_wal()")
    wait_until(lambda: work.target.measure([table]).wal_waiting is not None, within_s=120, what="an archived segment")


def test_autovacuum_on_the_table_is_seen(archive: Archive, tmp_path: Path) -> None:
    address = archive.cluster.database()
    fill(address, CUSTOMERS.format(rows=20_000))
    work = way(address, tmp_path)
    work.apply(Phase.PREPARE)
    with archive.cluster.as_superuser(address) as superuser:
        superuser.execute(f"grant pg_monitor to {ROLE}")
        superuser.execute("alter system set autovacuum_naptime = '1s'")
        superuser.execute("select pg_reload_conf()")
        superuser.execute(
            "alter table customer set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1,"
            " autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
        )
        superuser.execute("delete from customer where id % 2 = 0")
    table = work.written[0].compiled().steps(Phase.EXECUTE)[0].table  # type: ignore[union-attr]
    wait_until(lambda: work.target.measure([table]).vacuuming == ("customer",), within_s=120, what="autovacuum")
    work.health = HealthLimits()
    with pytest.raises(OnHold, match="autovacuum: at work on customer"):
        work.apply(Phase.EXECUTE)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("alter table customer set (autovacuum_enabled = false)")
