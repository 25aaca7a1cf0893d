"""The pages about what stops a release, and about dead runs, say what the code does; their SQL does what they say."""

import re
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest
import yaml
from prefect.settings.models.flows import FlowsSettings

from blocks.context import Context
from blocks.fence import Fence
from blocks.metrics.prometheus import PrometheusMetrics
from blocks.routers.haproxy_config import Exposed, service_sections
from tasks.common.delivery import Report, Told
from tasks.common.estate import Environment, Estate
from tasks.common.gates import COVERAGE, MIGRATED, REHEARSED, SCANS, SOURCES, TESTS, Gate
from tasks.common.lease import Lease, LeaseLost
from tasks.common.promql import fill
from tasks.gate.model import Names
from tests.support.deliveries import delivery
from tests.support.docs import FOR_REAL, ROOT, blocks_of, firsts, load, section
from tests.support.grants import holding
from tests.support.ledger import open_ledger, record
from tests.support.postgresql import Cluster
from tests.support.prometheus import prometheus

DEAD = ROOT / "docs/how-to/when-a-run-dies.md"
GATES = ROOT / "docs/how-to/gate-a-release.md"
PREFLIGHT = ROOT / "docs/how-to/check-before-a-release.md"
NAMES = Names("campus", "production", "v1", "green", 300.0, "0" * 40)


def test_page_about_gates_names_those_that_are_always_there_and_every_source() -> None:
    assert firsts(GATES, "Those that are always there") == [TESTS, COVERAGE, SCANS, f"{REHEARSED}ENVIRONMENT", MIGRATED]
    assert sorted(firsts(GATES, "Your own")) == sorted(f"`{name}`" for name in SOURCES)


def test_page_for_dead_runs_names_every_policy_and_the_default() -> None:
    fields = Environment.model_fields
    shown = [name for name in firsts(DEAD, "Reconcile") if name.startswith("`")]
    default = fields["after_crash"].default
    assert shown == [
        f"`{name}`{' (default)' * (name == default)}" for name in get_args(fields["after_crash"].annotation)
    ]
    leases = " ".join(section(DEAD, "Leases").split())
    assert all(f"`{name}`" in leases for name in get_args(fields["when_busy"].annotation))
    assert f"`{fields['when_busy'].default}` (the default" in leases
    assert f"is good for {fields['lease_s'].default:g} s" in leases
    assert fields["queue_at_most_s"].default == 3600.0, "the pages say an hour"


def test_page_about_preflight_has_the_defaults() -> None:
    wanted = Environment.model_fields["preflight"].default
    shares = (wanted.cpu_free_at_least, wanted.memory_free_at_least, wanted.disk_free_at_least)
    assert "{:g} %, {:g} % and {:g} % are free".format(*shares) in section(PREFLIGHT, "What is looked at")
    assert f"for {wanted.certificate_valid_for_s / 86400:g} days" in section(PREFLIGHT, "What is looked at")


def test_silence_that_starts_reconcile_is_three_heartbeats_and_documented_so() -> None:
    found = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    (reconcile,) = (each for each in found if each["flow_name"] == "reconcile")
    (within,) = {each["within"] for each in reconcile["triggers"]} - {0}
    heartbeat = FlowsSettings.model_fields["heartbeat_frequency"].default
    assert within == 3 * heartbeat
    assert f"not been heard of for {within} s" in FOR_REAL.read_text(encoding="utf-8")
    assert f"every {heartbeat} s" in FOR_REAL.read_text(encoding="utf-8")
    assert reconcile["schedules"][0]["interval"] == 60, "the pages say each minute"


@pytest.mark.server
def test_documented_grants_are_enough_for_a_worker_and_the_documented_queries_show_its_lease(
    tmp_path: Path, database_url: str, postgresql_cluster: Cluster
) -> None:
    _, grants = blocks_of(FOR_REAL, "sql")
    leases, _ = blocks_of(DEAD, "sql")
    open_ledger(tmp_path, database_url).prepare()
    with postgresql_cluster.as_superuser(database_url) as root:
        try:
            root.execute(grants)
            root.execute("alter role slipway_worker password 'worker-password'")
            address = (
                f"postgresql://slipway_worker:worker-password@127.0.0.1:{postgresql_cluster.port}/{root.info.dbname}"
            )
            worker = open_ledger(tmp_path, address)
            worker.prepare()
            worker.begin(record())
            assert isinstance(worker.leases.acquire("campus/production", "run-1", 60), Lease)
            worker.leases.acquire("campus/production", "run-2", 60)
            worker.deliveries.keep(delivery())
            worker.deliveries.settle("delivery-1", run_id="run-1")
            worker.deliveries.note_report("delivery-1", Report(1, Told.SUCCESS, delivery().received_at))
            with psycopg.connect(address) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("delete from slipway.evidence")
            held, queued = (root.execute(query).fetchall() for query in leases.strip().split(";")[:2])
            assert [row[:5] for row in held] == [("campus/production", "run-1", 1, False, False)]
            assert [row[:2] for row in queued] == [("campus/production", "run-2")]
        finally:
            root.execute("drop owned by slipway_worker")
            root.execute("drop role slipway_worker")


@pytest.mark.server
def test_after_the_documented_statement_a_restored_ledger_gives_leases_that_are_not_refused(
    tmp_path: Path, database_url: str
) -> None:
    _, raising = blocks_of(DEAD, "sql")
    ledger, file = open_ledger(tmp_path, database_url), tmp_path / "production.fence"
    ledger.prepare()
    Fence(file, holding(17), "campus in production").claim()
    for statement, refused in (("select 1", True), (raising, False)):
        with psycopg.connect(database_url) as connection:
            connection.execute(statement)
        lease = ledger.leases.acquire("campus/production", "run-1", 60)
        assert isinstance(lease, Lease)
        fence = Fence(file, holding(lease.token), "campus in production")
        if refused:
            with pytest.raises(LeaseLost, match="the holder of lease 17 has been here"):
                fence.claim()
        else:
            fence.claim()


def documented_gates() -> list[Gate]:
    """Return every gate that the page shows, as its file has it."""
    gates: list[Gate] = []
    for block in blocks_of(GATES, "yaml"):
        file: Any = load(block)
        gates += file.environments["production"].gates if isinstance(file, Estate) else file.gates
    return gates


@pytest.mark.server
def test_documented_sql_gates_are_taken_by_the_ledger_and_have_a_figure_where_there_is_evidence(
    tmp_path: Path, database_url: str
) -> None:
    ledger = open_ledger(tmp_path, database_url)
    ledger.prepare()
    ledger.begin(record())
    found = {gate.name: ledger.figure(gate.sql, NAMES.values()) for gate in documented_gates() if gate.sql}
    assert found == {
        "at most three releases a day": 0.0,
        "a verified backup is younger than a day": None,
        "the last failover drill passed": None,
    }


@pytest.mark.server
def test_documented_promql_gates_are_taken_by_prometheus_and_have_no_figure_where_nothing_is_scraped(
    tmp_path: Path,
) -> None:
    with prometheus(tmp_path) as url:
        metrics = PrometheusMetrics(PrometheusMetrics.Settings.model_validate({"url": url}), Context(base=tmp_path))
        asked = {gate.name: fill(gate.promql, NAMES.values()) for gate in documented_gates() if gate.promql}
        found = {name: metrics.query(expression) for name, expression in asked.items()}
    assert found == {
        "cost per user and day, in dollars": None,
        "performance benchmark in staging": None,
        "zero failed requests during the rehearsal's switch": None,
        "no alert is firing": 0.0,
    }
    sections = service_sections(Exposed("campus", "staging", "127.0.0.1:80"), state=tmp_path)
    (frontend,) = re.findall(r"^frontend (\S+)$", sections, re.MULTILINE)
    assert f'proxy="{frontend}"' in asked["zero failed requests during the rehearsal's switch"]
