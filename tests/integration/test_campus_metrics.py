"""The queries of campus's service file, asked of a real Prometheus: they see every fault, and invent no figure."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from blocks.routers.haproxy_config import Names
from deployments.lab.campus_versions import make_repository
from tasks.analysis.judge import expression
from tasks.common.load import load_service
from tests.support.campus import Instance, checked_out, ready_campus
from tests.support.needs import need
from tests.support.postgresql import Cluster
from tests.support.processes import end, free_port, listens, running, wait_until
from tests.support.prometheus import prometheus

pytestmark = pytest.mark.server

HAPROXY = """
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 1s
    retries 0
frontend metrics
    bind 127.0.0.1:{metrics}
    http-request use-service prometheus-exporter if {{ path /metrics }}
"""
SLOT = """
frontend {name}
    bind 127.0.0.1:{port}
    default_backend {backend}
backend {backend}
    server s0 127.0.0.1:{instance}
"""
Measure = Callable[..., float | None]


@dataclass(frozen=True)
class World:
    """v1 in the blue slot and v3 in the green one, both under load; v2 runs, and nobody asks it for anything."""

    measure: Measure
    blue_url: str
    green: Instance
    idle: Instance


@pytest.fixture(scope="module")
def world(postgresql_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("metrics")
    commits = make_repository(folder / "campus")
    trees = {name: checked_out(folder / "campus", commit, folder / name) for name, commit in commits.items()}
    service = load_service((trees["v2"] / "slipway.yaml").read_text(), "slipway.yaml")
    database = postgresql_cluster.database()
    with contextlib.ExitStack() as stack:
        apps = {
            name: stack.enter_context(ready_campus(trees[name], database, folder=folder, release=name))
            for name in trees
        }
        ports = {"blue": free_port(), "green": free_port(), "metrics": free_port()}
        stack.enter_context(haproxy(folder, ports, {"blue": apps["v1"], "green": apps["v3"]}))
        for slot in ("blue", "green"):
            stack.enter_context(load(f"http://127.0.0.1:{ports[slot]}", folder / slot))
        address = stack.enter_context(prometheus(folder, config={"scrape_configs": scraped(ports["metrics"], apps)}))

        def measure(metric: str, release: str, slot: str = "blue", window_s: float = 5) -> float | None:
            query = expression(
                service.metrics[metric].query,
                service="campus",
                environment="production",
                slot=slot,
                release=release,
                window_s=window_s,
            )
            answer = httpx.get(f"{address}/api/v1/query", params={"query": query}, trust_env=False)
            series = answer.raise_for_status().json()["data"]["result"]
            assert len(series) <= 1, query
            value = float(series[0]["value"][1]) if series else float("nan")
            return value if abs(value) < float("inf") else None

        yield World(measure, f"http://127.0.0.1:{ports['blue']}", apps["v3"], apps["v2"])


@contextlib.contextmanager
def haproxy(folder: Path, ports: dict[str, int], apps: dict[str, Instance]) -> Iterator[None]:
    config = HAPROXY.format(metrics=ports["metrics"])
    for slot, app in apps.items():
        backend = Names("campus", "production", folder).backend(slot)
        config += SLOT.format(name=slot, port=ports[slot], backend=backend, instance=app.port)
    (folder / "haproxy.cfg").write_text(config)
    argv = [str(need("haproxy")), "-db", "-f", str(folder / "haproxy.cfg")]
    with running(argv, log=folder / "haproxy.log"):
        wait_until(lambda: listens(ports["metrics"]), what="HAProxy listening")
        yield


@contextlib.contextmanager
def load(url: str, out: Path) -> Iterator[None]:
    argv = [sys.executable, "-m", "deployments.lab.load", "--url", url, "--rate", "40", "--out", f"{out}.jsonl"]
    with running(argv, log=out.with_suffix(".log")):
        yield


def scraped(metrics: int, apps: dict[str, Instance]) -> list[dict[str, object]]:
    campus = {"targets": [f"127.0.0.1:{app.port}" for app in apps.values()], "labels": {"environment": "production"}}
    return [
        {"job_name": "haproxy", "static_configs": [{"targets": [f"127.0.0.1:{metrics}"]}]},
        {"job_name": "campus-production", "static_configs": [campus]},
    ]


def test_fault_under_traffic_breaks_every_bound_that_should_see_it(world: World) -> None:
    def above(metric: str, bound: float) -> None:
        wait_until(
            lambda: (world.measure(metric, "v3", "green", 10) or 0) > bound, within_s=60, what=f"{metric} > {bound}"
        )

    above("error_rate", 2)
    above("crash_rate", 0.1)
    above("p95", 2)


def test_healthy_release_beside_it_keeps_every_bound(world: World) -> None:
    wait_until(lambda: (world.measure("engagement", "v1") or 0) > 5, what="enrolments")
    assert world.measure("error_rate", "v1") == 0
    assert world.measure("crash_rate", "v1") == 0
    p95 = world.measure("p95", "v1")
    assert p95 is not None
    assert 0 < p95 < 2, "the slow progress report must not count"


def test_release_without_requests_has_no_figures(world: World) -> None:
    wait_until(lambda: world.measure("user_reports", "v2") == 0, what="the first scrape")
    assert {m: world.measure(m, "v2") for m in ("p95", "crash_rate", "engagement")} == {
        "p95": None,
        "crash_rate": None,
        "engagement": None,
    }
    assert world.measure("error_rate", "v2", slot="purple") is None
    assert world.measure("user_reports", "unknown") is None


def test_users_who_only_look_are_told_from_users_who_enrol_once_there_are_enough_of_them(world: World) -> None:
    def look(times: int) -> float:
        with world.idle.client() as client:
            for _ in range(times):
                assert client.get("/api/v1/courses").status_code == 200
        return wait_until(lambda: world.measure("engagement", "v2", window_s=60), what="figures of v2")

    stable = world.measure("engagement", "v1", window_s=60)
    assert stable is not None
    assert look(8) > 0.5 * stable, "eight who did not enrol are chance"
    wait_until(lambda: look(100) < 0.5 * stable, what="engagement below half of v1's")


def test_reports_of_users_are_counted_to_the_last_one(world: World) -> None:
    with world.idle.client() as client:
        for number in range(11):
            client.post("/api/v1/reports", json={"message": f"the video stops at {number}"})
    wait_until(lambda: world.measure("user_reports", "v2") == 11, what="eleven reports")
    assert world.measure("user_reports", "v1") == 0


def test_instance_that_died_is_seen_in_the_errors_of_its_users(world: World) -> None:
    end(world.green.process)
    wait_until(lambda: world.measure("error_rate", "v3", "green", 2) == 100, within_s=60, what="every answer a 5xx")
    assert world.measure("error_rate", "v1") == 0
