"""The client of a drill against a real PostgreSQL: its pace, its honesty, and its agreement with another client."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from blocks.context import Context
from blocks.drills.client import Orders
from blocks.drills.ids import TABLE, ids_of, prepare
from blocks.drills.nodes import PostgresqlNodes
from tasks.common.errors import Retryable
from tasks.drill.measure import Kind, Result, leaders, loss, recovery, share_percent
from tasks.drill.model import NodeState
from tests.support.drilling import Independent, client, read_log
from tests.support.http_server import answering, plain
from tests.support.postgresql import Cluster, running_cluster
from tests.support.processes import free_port, wait_until

pytestmark = pytest.mark.server
SURE = {"synchronous_commit": "on", "max_connections": "300"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path, settings=SURE) as cluster:
        yield cluster


def orders(folder: Path, address: str, **more: object) -> Orders:
    given = {"writes_per_s": 50, "reads_per_s": 50, "nodes": {"a1": address}, **more}
    return Orders("run1", str(folder / "client.jsonl"), address, **given)  # type: ignore[arg-type]


def until_well(log: Path, for_s: float = 3.0) -> None:
    """The client has been served without a failure for so long."""

    def well() -> bool:
        found = read_log(log)
        recent = [each for each in found.operations if each.due_s > time.monotonic() - for_s]
        return len(recent) > 50 and all(each.result is Result.OK for each in recent)

    wait_until(well, what="a client that is served", every_s=0.3, within_s=60)


def test_client_keeps_its_pace_and_every_acknowledged_id_is_there(cluster: Cluster, tmp_path: Path) -> None:
    address = cluster.database()
    prepare(address, "run1", "here")
    with client(orders(tmp_path, address)):
        until_well(tmp_path / "client.jsonl")
    log = read_log(tmp_path / "client.jsonl")
    assert log.whole
    for kind in (Kind.WRITE, Kind.READ):
        sent = log.of(kind)
        assert len(sent) / (sent[-1].due_s - sent[0].due_s) > 49
        assert share_percent(sent, log.began_s, log.until_s) == 100
    assert {each.state for each in log.samples} == {NodeState.WRITABLE}
    found = loss(log.operations, ids_of(address, "run1", "here"))
    assert (found.lost, found.acknowledged) == ((), len(log.of(Kind.WRITE)))


def test_planted_loss_is_found(cluster: Cluster, tmp_path: Path) -> None:
    address = cluster.database()
    prepare(address, "run1", "here")
    with client(orders(tmp_path, address)):
        until_well(tmp_path / "client.jsonl")
    with psycopg.connect(address, autocommit=True) as connection:
        rows = connection.execute(f"delete from {TABLE} where id like '%3' returning id").fetchall()
    assert rows
    found = loss(read_log(tmp_path / "client.jsonl").operations, ids_of(address, "run1", "here"))
    assert set(found.lost) == {row[0] for row in rows}


def test_outage_by_a_killed_postmaster_is_measured_as_another_client_measures_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    address = cluster.database()
    prepare(address, "run1", "here")
    with client(orders(tmp_path, address)), Independent(address) as other:
        until_well(tmp_path / "client.jsonl")
        os.kill(cluster.process.pid, signal.SIGKILL)
        cluster.process.wait()
        time.sleep(1.5)  # the length of the planted outage, and no condition
        _start_again(cluster)
        until_well(tmp_path / "client.jsonl", for_s=6)
    log = read_log(tmp_path / "client.jsonl")
    found = recovery(log.of(Kind.WRITE), 5)
    assert found.ended and found.rto_s is not None
    assert abs(found.rto_s - other.rto_s()) < 0.2, (found, other.rto_s())
    assert loss(log.operations, ids_of(address, "run1", "here")).lost == ()
    assert NodeState.SILENT in {each.state for each in log.samples}
    assert [node for _, node in leaders(log.samples)] == ["a1"]


def _start_again(cluster: Cluster) -> None:
    """The server runs again; the children of a killed one are gone before a new one starts."""

    def started() -> bool:
        with contextlib.suppress(Exception):
            cluster.stop()
            cluster.start()
            return True
        return False

    wait_until(started, what="a server that starts again")


def test_server_that_hangs_is_seen_by_everyone_who_would_have_come(cluster: Cluster, tmp_path: Path) -> None:
    address = cluster.database()
    prepare(address, "run1", "here")
    with client(orders(tmp_path, address)):
        until_well(tmp_path / "client.jsonl")
        path = Path(f"/proc/{cluster.process.pid}/task/{cluster.process.pid}/children")
        children = [cluster.process.pid, *map(int, path.read_text().split())]
        stopped_s = time.monotonic()
        try:
            for each in children:
                os.kill(each, signal.SIGSTOP)
            time.sleep(3)  # the length of the planted outage, and no condition
        finally:
            continued_s = time.monotonic()
            for each in children:
                os.kill(each, signal.SIGCONT)
        until_well(tmp_path / "client.jsonl", for_s=6)
    log = read_log(tmp_path / "client.jsonl")
    found = recovery(log.of(Kind.WRITE), 5)
    sent = [each for each in log.of(Kind.WRITE) if stopped_s < each.due_s < continued_s]
    assert len(sent) > 3 * 49, "it waited for answers before it went on"
    assert Result.UNKNOWN in {each.result for each in sent}
    assert found.ended and found.rto_s is not None and 0.5 < found.rto_s < 4.5
    assert loss(log.operations, ids_of(address, "run1", "here")).lost == ()


def test_commit_that_is_cut_off_while_it_waits_for_a_standby_is_not_acknowledged(
    cluster: Cluster, tmp_path: Path
) -> None:
    address = cluster.database()
    prepare(address, "run1", "here")
    with cluster.as_superuser(address) as connection:
        connection.execute("alter system set synchronous_standby_names = 'nobody'")
        connection.execute("select pg_reload_conf()")
        wait_until(
            lambda: connection.execute("show synchronous_standby_names").fetchone() == ("nobody",), what="the setting"
        )
        with client(orders(tmp_path, address, reads_per_s=0, within_s=6)):
            waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
            wait_until(lambda: (connection.execute(waiting).fetchone() or (0,))[0] >= 3, what="commits that wait")
            os.kill(cluster.process.pid, signal.SIGINT)
            cluster.process.wait()
            time.sleep(0.5)  # so that what the server said last is read
    results = {each.result for each in read_log(tmp_path / "client.jsonl").of(Kind.WRITE)}
    assert Result.OK not in results and Result.UNKNOWN in results


def test_requests_of_an_application_are_told_apart_by_their_answers(tmp_path: Path) -> None:
    status = [200]
    with answering(lambda _: plain(status[0])) as url:
        given = Orders("run1", str(tmp_path / "client.jsonl"), url=url, requests_per_s=50)
        with client(given):
            until_well(tmp_path / "client.jsonl", for_s=1.5)
            status[0] = 503
            wait_until(
                lambda: any(each.result is Result.FAIL for each in read_log(tmp_path / "client.jsonl").operations)
            )
            status[0] = 200
            until_well(tmp_path / "client.jsonl", for_s=1.5)
    found = recovery(read_log(tmp_path / "client.jsonl").of(Kind.REQUEST), 1)
    assert len(found.outages) == 1 and found.ended


def test_node_that_nobody_listens_at_is_silent_and_a_table_there_cannot_be_made(tmp_path: Path) -> None:
    address = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    (tmp_path / "a1").write_text(address)
    nodes = PostgresqlNodes(PostgresqlNodes.Settings(nodes={"a1": "file:a1"}), Context(base=tmp_path))
    (seen,) = nodes.look()
    assert (seen.state, bool(seen.why)) == (NodeState.SILENT, True)
    with pytest.raises(Retryable):
        prepare(address, "run1", "here")
