"""The ledger on a real PostgreSQL: append-only, prepared safely, found again after every kind of interruption."""

import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from blocks import ledger_database
from blocks.ledger import PostgresqlLedger
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.lease import Lease
from tasks.release.model import Evidence, Outcome
from tests.support.ledger import NOON, open_ledger, record
from tests.support.postgresql import Cluster, running_cluster
from tests.support.processes import free_port, paused, wait_until

pytestmark = pytest.mark.server


@pytest.fixture
def ledger(tmp_path: Path, database_url: str) -> PostgresqlLedger:
    opened = open_ledger(tmp_path, database_url)
    opened.prepare()
    return opened


@pytest.fixture
def root(postgresql_cluster: Cluster, database_url: str) -> Iterator[psycopg.Connection]:
    with postgresql_cluster.as_superuser(database_url) as connection:
        yield connection


# --- append-only


MUTABLE = ("lease", "lease_waiter", "delivery_waiting")


def tables(connection: psycopg.Connection) -> list[str]:
    """Return the tables of the evidence: all but those of the leases and the queue of deliveries."""
    rows = connection.execute("select tablename from pg_tables where schemaname = 'slipway' order by 1")
    return [name for (name,) in rows if name not in MUTABLE]


CHANGES = (
    "delete from slipway.{table}",
    "truncate slipway.{table} cascade",
    "update slipway.{table} set {column} = null",
)


def change(connection: psycopg.Connection, statement: str, table: str) -> None:
    column = connection.execute(
        "select column_name from information_schema.columns where table_schema = 'slipway' and table_name = %s"
        " and is_identity = 'NO' limit 1",
        [table],
    ).fetchone()
    assert column is not None
    names = {"table": sql.Identifier(table), "column": sql.Identifier(column[0])}
    connection.execute(sql.SQL(statement).format(**names))


@pytest.mark.parametrize("statement", CHANGES)
def test_no_table_of_the_evidence_can_be_changed_by_owner_superuser_or_replication_role(
    ledger: PostgresqlLedger, database_url: str, root: psycopg.Connection, statement: str
) -> None:
    ledger.begin(record())
    replica = psycopg.connect(root.info.dsn, password=root.info.password, autocommit=True)
    with replica, psycopg.connect(database_url, autocommit=True) as owner:
        replica.execute("set session_replication_role = replica")
        kept_of_backups = ("challenge", "expiry", "hold", "schema", "source", "verification")
        of_backups = ["backup", *(f"backup_{each}" for each in kept_of_backups)]
        of_deliveries = ["delivery", "delivery_end", "delivery_report"]
        of_releases = [
            "drill_note",
            "evidence",
            "migration_history",
            "move_note",
            "release_end",
            "release_record",
            "restore_note",
        ]
        assert tables(root) == [*of_backups, *of_deliveries, *of_releases]
        for connection in (owner, root, replica):
            for table in tables(root):
                with pytest.raises(errors.RestrictViolation, match="append-only"):
                    change(connection, statement, table)
    assert ledger.record("run-1") == record()


def test_upsert_cannot_change_a_row_either(ledger: PostgresqlLedger, root: psycopg.Connection) -> None:
    ledger.begin(record())
    ledger.end("run-1", Outcome.FAILED, NOON, None, None)
    with pytest.raises(errors.RestrictViolation):
        root.execute(
            "insert into slipway.release_end values ('run-1', 'succeeded', now())"
            " on conflict (record_id) do update set outcome = 'succeeded'"
        )
    assert ledger.record("run-1").outcome is Outcome.FAILED


def test_without_its_trigger_a_table_can_be_changed(ledger: PostgresqlLedger, root: psycopg.Connection) -> None:
    """The planted fault for the tests above."""
    ledger.begin(record())
    root.execute("drop trigger append_only on slipway.release_record")
    root.execute("update slipway.release_record set requested_by = 'mallory'")
    assert ledger.record("run-1").requested_by == "mallory"


def test_role_that_may_change_nothing_but_leases_is_enough_once_the_tables_are_there(
    ledger: PostgresqlLedger, root: psycopg.Connection, postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    root.execute("create role worker login password 'worker-password'")
    try:
        address = f"postgresql://worker:worker-password@127.0.0.1:{postgresql_cluster.port}/{root.info.dbname}"
        (tmp_path / "worker").mkdir()
        worker = open_ledger(tmp_path / "worker", address)
        with pytest.raises(Refused, match="lacks a right") as caught:
            worker.begin(record())
        assert "SELECT and INSERT" in caught.value.next_action
        root.execute("grant usage on schema slipway to worker")
        root.execute("grant select, insert on all tables in schema slipway to worker")
        worker.prepare()
        worker.begin(record())
        worker.append(Evidence("run-1", "step", "shift", NOON))
        worker.end("run-1", Outcome.SUCCEEDED, NOON, None, None)
        with pytest.raises(Refused, match="lacks a right") as caught:
            worker.leases.acquire("campus/production", "run-1", 60)
        assert "UPDATE and DELETE on lease and lease_waiter" in caught.value.next_action
        root.execute("grant update, delete on slipway.lease, slipway.lease_waiter to worker")
        lease = worker.leases.acquire("campus/production", "run-1", 60)
        assert isinstance(lease, Lease)
        worker.leases.give_up(worker.leases.renew(lease, 60))
        assert worker.succeeded("campus", "production", 5) == (ledger.record("run-1"),)
        with psycopg.connect(address) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute("drop trigger append_only on slipway.evidence")
    finally:
        root.execute("drop owned by worker")
        root.execute("drop role worker")


# --- interruptions


def test_ledger_that_nobody_prepared_is_refused_with_what_to_do(tmp_path: Path, database_url: str) -> None:
    with pytest.raises(Refused, match="tables are missing") as caught:
        open_ledger(tmp_path, database_url).begin(record())
    assert "prepare" in caught.value.next_action


def test_ledger_goes_on_after_its_server_was_restarted(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        ledger = open_ledger(tmp_path, cluster.database())
        ledger.prepare()
        ledger.begin(record())
        cluster.stop()
        for call in (ledger.prepare, lambda: ledger.begin(record("run-2")), lambda: ledger.evidence("run-1")):
            with pytest.raises(Retryable, match="does not answer") as caught:
                call()
            assert caught.value.state == "nothing was changed"
        cluster.start()
        ledger.append(Evidence("run-1", "step", "shift", NOON))
        assert [evidence.name for evidence in ledger.evidence("run-1")] == ["shift"]
        assert [found.id for found in ledger.records(None, None, 5)] == ["run-1"]

        # The kernel still accepts the connection, nobody answers.
        with paused(cluster.process.pid), pytest.raises(Retryable, match="does not answer"):
            ledger.append(Evidence("run-1", "step", "lost", NOON))
        ledger.append(Evidence("run-1", "step", "kept", NOON))
        assert [evidence.name for evidence in ledger.evidence("run-1")] == ["shift", "kept"]


def interrupted(root: psycopg.Connection, table: str, call: Callable[[], None]) -> SlipwayError:
    """Return the error of a call whose session is ended while it waits for a lock."""
    caught: list[SlipwayError] = []

    def work() -> None:
        try:
            call()
        except SlipwayError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    with root.transaction():
        root.execute(sql.SQL("lock table slipway.{} in access exclusive mode").format(sql.Identifier(table)))
        thread.start()
        waiting = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"

        def waiting_session() -> tuple[int] | None:
            # Within a transaction the statistics are a snapshot until they are cleared.
            root.execute("select pg_stat_clear_snapshot()")
            return root.execute(waiting).fetchone()

        found = wait_until(waiting_session, what="the call waiting for the lock")
        assert found is not None
        root.execute("select pg_terminate_backend(%s)", found)
        thread.join(20)
    assert caught, "the call was interrupted"
    return caught[0]


def test_connection_lost_in_the_middle_of_an_append_says_that_the_outcome_is_unknown(
    ledger: PostgresqlLedger, root: psycopg.Connection
) -> None:
    ledger.begin(record())
    evidence = Evidence("run-1", "step", "shift", NOON)
    error = interrupted(root, "evidence", lambda: ledger.append(evidence))
    assert isinstance(error, Retryable)
    assert error.state == "it is not known whether this evidence was kept"
    ledger.append(evidence)
    assert ledger.evidence("run-1") == (evidence,)


def test_begin_end_and_prepare_can_be_called_again_after_the_connection_was_lost(
    ledger: PostgresqlLedger, root: psycopg.Connection
) -> None:
    def end() -> None:
        ledger.end("run-1", Outcome.SUCCEEDED, NOON, None, None)

    calls = {"release_record": lambda: ledger.begin(record()), "release_end": end, "migration_history": ledger.prepare}
    for table, call in calls.items():
        error = interrupted(root, table, call)
        assert isinstance(error, Retryable)
        assert "again does no harm" in error.state
        call()
        call()
    assert ledger.records(None, None, 5) == ledger.succeeded("campus", "production", 5) == (ledger.record("run-1"),)


def test_lock_that_somebody_holds_for_long_is_told_of(
    ledger: PostgresqlLedger, root: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_database, "_STATEMENT_TIMEOUT_MS", 200)
    with root.transaction():
        root.execute("lock table slipway.release_record in access exclusive mode")
        with pytest.raises(Retryable, match="did not finish") as caught:
            ledger.records(None, None, 1)
    assert "statement timeout" in str(caught.value)
    assert ledger.records(None, None, 1) == ()


def test_read_only_server_may_be_retried_and_is_named_as_a_standby(
    ledger: PostgresqlLedger, root: psycopg.Connection
) -> None:
    database = sql.Identifier(root.info.dbname)
    root.execute(sql.SQL("alter database {} set default_transaction_read_only = on").format(database))
    with pytest.raises(Retryable, match="read-only") as caught:
        ledger.begin(record())
    assert "target_session_attrs" in caught.value.next_action
    assert ledger.records(None, None, 5) == ()


# --- addresses and secrets


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


def test_wrong_password_is_refused_without_being_shown_and_a_mended_one_is_used(
    tmp_path: Path, database_url: str
) -> None:
    ledger = open_ledger(tmp_path, database_url.replace("://app:", "://app:wr0ng"))
    with pytest.raises(Refused, match="does not let us in") as caught:
        ledger.prepare()
    assert "wr0ng" not in shown(caught.value)
    assert "authentication failed" in shown(caught.value)
    (tmp_path / "dsn").write_text(database_url)
    ledger.prepare()
    ledger.begin(record())


def test_unknown_database_is_refused_and_unreachable_server_is_retryable(tmp_path: Path, database_url: str) -> None:
    password = "s3cret-pw"
    with pytest.raises(Refused, match="does not let us in"):
        open_ledger(tmp_path, database_url + "_gone").prepare()
    with pytest.raises(Retryable, match="does not answer") as caught:
        open_ledger(tmp_path, f"postgresql://app:{password}@127.0.0.1:{free_port()}/x").prepare()
    assert password not in shown(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://app:s3cr@pw3t@127.0.0.1:{port}/db",
        "postgresql://app:s3cr/pw3t@127.0.0.1:{port}/db",
        "postgresql://app:s3cr?pw3t@127.0.0.1:{port}/db",
        "postgresql://app:s3cr#pw3t@127.0.0.1:{port}/db",
        "postgresql://app:s3cr pw3t@127.0.0.1:{port}/db",
        "postgresql://app:s3cr%zzpw3t@127.0.0.1:{port}/db",
        "host=127.0.0.1 port={port} password=s3cr pw3t",
        "host=127.0.0.1 port={port} password='s3crpw3t",
        "s3crpw3t",
        "mysql://app:s3crpw3t@127.0.0.1:{port}/db",
    ],
)
def test_address_that_cannot_be_read_is_refused_and_no_part_of_its_password_shown(tmp_path: Path, address: str) -> None:
    with pytest.raises(Refused, match="cannot be read") as caught:
        open_ledger(tmp_path, address.format(port=free_port())).prepare()
    assert "s3cr" not in shown(caught.value)
    assert "pw3t" not in shown(caught.value)


def test_password_that_the_server_repeats_is_redacted(
    ledger: PostgresqlLedger, root: psycopg.Connection, postgresql_cluster: Cluster
) -> None:
    secret = postgresql_cluster.role_password
    root.execute(
        sql.SQL(
            "create function public.leak() returns trigger language plpgsql as {};"
            "create trigger leak before insert on slipway.release_record for each row execute function public.leak()"
        ).format(sql.Literal(f"begin raise exception 'connected with {secret}'; end"))
    )
    with pytest.raises(Refused, match="connected with") as caught:
        ledger.begin(record())
    assert secret not in shown(caught.value)


# --- size

MANY = """
set session_replication_role = replica;
insert into slipway.release_record (id, kind, service, environment, release, commit, subject, strategy, requested_by,
                                    started_at)
    select 'old-' || n, 'release', 'service-' || n % 5, 'environment-' || n % 3, 'v' || n, n::text, 'subject', 'canary',
           'ada', '2025-01-01T00:00Z'::timestamptz + n * interval '1 hour' from generate_series(1, 10000) n;
insert into slipway.release_end (record_id, outcome, ended_at)
    select id, case when sequence % 4 = 0 then 'failed' else 'succeeded' end, started_at from slipway.release_record;
insert into slipway.evidence (record_id, kind, name, at, facts)
    select 'old-' || n, 'step', 'number ' || m, now(), '{"weight": 5}' from generate_series(1, 10000) n,
           generate_series(1, 20) m;
analyze slipway.release_record, slipway.release_end, slipway.evidence;
"""
FIGURES = """
select relname, seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0)
  from pg_stat_user_tables where schemaname = 'slipway'
"""


def use(ledger: PostgresqlLedger) -> None:
    at = NOON + timedelta(days=999)
    ledger.begin(record())
    ledger.append(Evidence("run-1", "step", "shift", at))
    ledger.end("run-1", Outcome.SUCCEEDED, at, None, None)
    assert ledger.record("old-77").id == "old-77"
    assert len(ledger.evidence("old-5000")) == 20
    assert len(ledger.records(None, None, 20)) == 20
    assert len(ledger.records("service-1", None, 20)) == 20
    assert len(ledger.records(None, "environment-1", 20)) == 20
    assert len(ledger.records("service-1", "environment-1", 20)) == 20
    assert len(ledger.succeeded("service-1", "environment-1", 20)) == 20


def read(root: psycopg.Connection, work: Callable[[], None]) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many scans of whole tables the work took, and how many rows it read, by table."""

    def figures() -> dict[str, tuple[int, int]]:
        # A session hands in its figures when it ends; this one, which has filled the tables, when it is told to.
        root.execute("select pg_stat_force_next_flush()")
        mine = "select count(*) from pg_stat_activity where datname = current_database()"
        wait_until(lambda: root.execute(mine).fetchone() == (1,), what="the end of the other sessions")
        return {table: (scans, rows) for table, scans, rows in root.execute(FIGURES)}

    before = figures()
    work()
    after = figures()
    scans = {table: after[table][0] - before[table][0] for table in after}
    return scans, {table: after[table][1] - before[table][1] for table in after}


def test_no_call_reads_more_with_ten_thousand_releases(ledger: PostgresqlLedger, root: psycopg.Connection) -> None:
    root.execute(MANY)
    root.execute("set session_replication_role = origin")
    scans, rows = read(root, lambda: use(ledger))
    assert scans == dict.fromkeys(scans, 0)
    assert {"evidence", "release_end", "release_record", "migration_history"} <= scans.keys()
    assert rows["evidence"] <= 50
    assert rows["release_record"] + rows["release_end"] <= 2000


def test_scan_of_all_evidence_would_be_noticed(ledger: PostgresqlLedger, root: psycopg.Connection) -> None:
    """The planted fault for the test above."""
    root.execute(MANY)
    root.execute("alter table slipway.evidence drop constraint evidence_pkey")
    scans, rows = read(root, lambda: use(ledger))
    assert scans["evidence"] >= 1
    assert rows["evidence"] > 100_000
