"""The example application as its service file says: tested, scanned, started, smoked, and correct when things break."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import httpx
import psycopg
import pytest

from blocks.context import Context
from blocks.scanners.report import ReportScanner
from blocks.shell import run
from deployments.lab.campus_versions import CAMPUS
from tasks.common.load import load_service
from tasks.common.model import HttpCheck
from tasks.common.service import ServiceFile
from tasks.scan.judge import judge
from tests.support.campus import PYTHON_FOLDER, Instance, ready_campus, running_campus, tree_of
from tests.support.postgresql import Cluster, running_cluster
from tests.support.processes import wait_until

DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def service() -> ServiceFile:
    return load_service((CAMPUS / "slipway.yaml").read_text(), "slipway.yaml")


@pytest.fixture(scope="module")
def campus(postgresql_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with ready_campus(CAMPUS, postgresql_cluster.database(), folder=tmp_path_factory.mktemp("campus")) as instance:
        yield instance


def test_service_file_has_the_canary_of_the_requirements(service: ServiceFile) -> None:
    assert service.promotion.strategy == "canary"
    stages = service.promotion.stages
    assert [(stage.weight, stage.soak_s) for stage in stages[:-1]] == [
        (0.1, 3600),
        (1, 4 * 3600),
        (5, DAY_S),
        (25, 2 * DAY_S),
    ]
    bounds = {check.metric: check.at_most for check in service.analysis.rollback_when_not}
    assert bounds == {"error_rate": "2%", "p95": "5s", "crash_rate": "0.1%", "user_reports": 10}
    assert [check.metric for check in stages[2].checks if check.at_least_times_stable] == ["engagement"]
    assert (service.validation.settle_s, service.validation.stable_for_s) == (30, 300)


@pytest.mark.server
def test_its_own_tests_pass_and_cover_enough(service: ServiceFile, database_url: str, tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree")
    for step in service.test.steps:
        done = run(
            step.command,
            cwd=tree,
            timeout_s=step.timeout_s,
            redact=str,
            env={"CAMPUS_TEST_DATABASE_URL": database_url},
            path=[PYTHON_FOLDER],
        )
        assert done.exit_code == 0, "\n".join(done.tail)
    assert service.test.coverage is not None
    report = json.loads((tree / service.test.coverage.report).read_text())
    assert report["totals"]["percent_covered"] >= service.test.coverage.at_least
    with psycopg.connect(database_url) as connection:
        left = connection.execute("select 1 from pg_namespace where nspname like 'campus_test_%'").fetchall()
    assert left == []


def test_its_own_tests_fail_plainly_without_a_database(service: ServiceFile, tmp_path: Path) -> None:
    done = run(
        service.test.steps[0].command,
        cwd=tree_of(tmp_path / "tree"),
        timeout_s=60,
        redact=str,
        path=[PYTHON_FOLDER],
    )
    assert done.exit_code != 0
    assert "CAMPUS_TEST_DATABASE_URL is not set" in "\n".join(done.tail)


@pytest.mark.parametrize("tool", ["bandit", "detect-secrets"])
def test_scan_finds_nothing_in_the_tree_and_something_where_it_was_planted(
    tool: str, service: ServiceFile, tmp_path: Path
) -> None:
    tree = tree_of(tmp_path / "tree")
    (spec,) = [scan for scan in service.scan if scan.tool == tool]
    scanner = ReportScanner(ReportScanner.Settings(), Context(tmp_path, path=(PYTHON_FOLDER,)))

    def found() -> list[str]:
        report = scanner.scan(tree, spec, env={}, on_line=lambda line: None)
        return [each.finding.path for each in judge([(spec, report)], (), None, date(2026, 3, 10)).blocking]

    assert found() == []
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    (tree / "campus" / "planted.py").write_text(
        f"import subprocess\nsubprocess.run(input(), shell=True)\nkey = '{key}'\n"
    )
    assert found() == ["campus/planted.py"]


def check(client: httpx.Client, expected: HttpCheck) -> bool:
    answer = client.request(expected.method, expected.path, json=expected.json_body)
    return answer.status_code == expected.expect and (expected.contains or "") in answer.text


@pytest.mark.server
def test_every_smoke_check_and_critical_feature_holds(service: ServiceFile, campus: Instance) -> None:
    with campus.client() as client:
        wrong = [c.label for c in (*service.smoke, *service.validation.critical_features) if not check(client, c)]
    assert wrong == []


@pytest.mark.server
def test_journey_from_end_to_end_succeeds_and_says_where_it_fails(
    service: ServiceFile, campus: Instance, tmp_path: Path
) -> None:
    (command,) = service.end_to_end

    def journey(url: str) -> tuple[int, str]:
        done = run(
            command.command,
            cwd=tree_of(tmp_path / url[-5:]),
            timeout_s=60,
            redact=str,
            env={"SLIPWAY_URL": url},
            path=[PYTHON_FOLDER],
        )
        return done.exit_code, "\n".join(done.tail)

    assert journey(campus.url) == (
        0,
        "learner 2 enrolled in 'Astronomy without a telescope' and reads it back",
    )
    exit_code, said = journey(campus.url + "/api/v1")
    assert exit_code != 0
    assert said == "POST /api/v1/api/v1/auth/login: 404 instead of 200"


@pytest.mark.server
def test_instances_that_start_at_once_make_one_schema(database_url: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        instances = [stack.enter_context(running_campus(CAMPUS, database_url, folder=tmp_path)) for _ in range(4)]
        for instance in instances:
            wait_until(lambda i=instance: i.answers("/health/ready") == 200, what=f"ready: {instance.log}")
            assert "Error" not in instance.log.read_text()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from users").fetchone() == (8,)
        assert connection.execute("select count(*) from courses").fetchone() == (16,)


@pytest.mark.server
def test_term_finishes_the_open_request_and_ends(database_url: str, tmp_path: Path) -> None:
    with ready_campus(CAMPUS, database_url, folder=tmp_path) as instance:
        with socket.create_connection(("127.0.0.1", instance.port), timeout=15) as slow:
            slow.sendall(b"GET /api/v1/progress?seconds=2 HTTP/1.1\r\nHost: campus\r\n\r\n")
            # Answered after the slow request was sent: the instance has it.
            assert instance.answers("/health/live") == 200
            instance.process.terminate()
            wait_until(lambda: instance.answers("/health/live") == 0, what="no new connections")
            answer = b"".join(iter(lambda: slow.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith(b'{"progress":[]}')
        # By its own will, or as uvicorn does it: with the signal itself, once everything is finished.
        assert instance.process.wait(15) in (0, -signal.SIGTERM)


@pytest.mark.server
def test_restart_of_the_database_costs_answers_only_while_it_is_away(tmp_path: Path) -> None:
    with (
        running_cluster(tmp_path) as cluster,
        ready_campus(CAMPUS, cluster.database(), folder=tmp_path) as instance,
        instance.client() as client,
        ThreadPoolExecutor(8) as crowd,
    ):

        def statuses() -> set[int]:
            # More at once than the pool has connections, so that each of them is used.
            return {answer.status_code for answer in crowd.map(client.get, ["/api/v1/courses"] * 8)}

        assert statuses() == {200}
        learner = {"email": "learner1@campus.example", "password": "learn something new"}  # pragma: allowlist secret
        token = client.post("/api/v1/auth/login", json=learner).json()["token"]
        cluster.stop()
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
        assert statuses() == {503}
        cluster.start()
        wait_until(lambda: instance.answers("/health/ready") == 200, what="ready again")
        headers = {"Authorization": f"Bearer {token}"}
        assert client.post("/api/v1/enrolments", json={"course_id": 1}, headers=headers).status_code == 201
        assert statuses() == {200}
        assert 'campus_unhandled_errors_total{release="r1"} 0.0' in client.get("/metrics").text


@pytest.mark.server
def test_instance_that_started_without_a_database_becomes_ready_with_it(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        database_url = cluster.database()
        cluster.stop()
        with running_campus(CAMPUS, database_url, folder=tmp_path) as instance:
            wait_until(lambda: instance.answers("/health/live") == 200, what="alive")
            assert instance.answers("/health/ready") == 503
            cluster.start()
            wait_until(lambda: instance.answers("/health/ready") == 200, what="ready")
            assert instance.answers("/api/v1/courses") == 200


def test_missing_settings_end_the_start_with_one_line() -> None:
    done = subprocess.run([sys.executable, "-m", "campus"], cwd=CAMPUS, env={}, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr == ("campus cannot start: PORT, CAMPUS_DATABASE_URL, CAMPUS_TOKEN_SECRET not set\n")
