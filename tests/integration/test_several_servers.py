"""Several Prefect servers, as the how-to has them: two for the API, one process of services, a Redis."""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.lab.lab import ROOT
from tests.support.postgresql import Cluster
from tests.support.processes import free_port, listens, running, wait_until
from tests.support.redis import RedisServer, running_redis

pytestmark = [pytest.mark.server, pytest.mark.slow]

AUTH = ("slipway", "a-long-random-text")
EVENT = "test.happened"
_PREFECT = (sys.executable, "-m", "prefect")


@dataclass(frozen=True)
class Servers:
    """Two servers that share a database and a Redis, and a deployment that an event starts and a schedule, too."""

    urls: tuple[str, str]
    first: "subprocess.Popen[bytes]"
    deployment: str

    def ask(self, method: str, server: int, path: str, body: object = None) -> Any:
        """Return what one of them answers."""
        answer = httpx.request(method, f"{self.urls[server]}{path}", json=body, auth=AUTH, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def happen(self, server: int) -> None:
        """One of them is told of an event."""
        resource = {"prefect.resource.id": "test.thing"}
        event = {"id": str(uuid.uuid4()), "occurred": f"{datetime.now(UTC):%FT%T.%fZ}", "event": EVENT}
        self.ask("POST", server, "/events", [{**event, "resource": resource}])

    def runs(self, server: int, *, scheduled: bool) -> list[dict[str, Any]]:
        """Return the runs that the schedule or the automation has made, as one of them knows them."""
        runs = self.ask("POST", server, "/flow_runs/filter", {"limit": 200})
        return [run for run in runs if run["auto_scheduled"] is scheduled]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, postgresql_cluster: Cluster) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("several")
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis(folder))
        env = _environment(folder, redis, postgresql_cluster.database())
        everything = {**os.environ, **env}
        subprocess.run(
            [*_PREFECT, "server", "database", "upgrade", "-y"], env=everything, check=True, capture_output=True
        )
        ports = (free_port(), free_port())
        api = []
        for port in ports:
            # One after the other: each puts its block types into an empty database, and who comes second fails.
            argv = [*_PREFECT, "server", "start", "--no-services", "--host", "127.0.0.1", "--port", str(port)]
            api.append(stack.enter_context(running(argv, log=folder / f"{port}.log", env=env)))
            wait_until(lambda port=port: listens(port), within_s=120, what="a server")
        stack.enter_context(running([*_PREFECT, "server", "services", "start"], log=folder / "services.log", env=env))
        urls = (f"http://127.0.0.1:{ports[0]}/api", f"http://127.0.0.1:{ports[1]}/api")
        yield _deployed(Servers(urls, api[0], ""))


def _environment(folder: Path, redis: RedisServer, database: str) -> dict[str, str]:
    """Return the settings of the shipped file, with this test's addresses, and services that look about more often."""
    text = (ROOT / "deployments/server/prefect-server-replicas.env").read_text()
    text = text.replace("PASSWORD@redis.internal.example:6379", f"{redis.password}@127.0.0.1:{redis.port}")
    return {
        **dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE)),
        "PREFECT_API_DATABASE_CONNECTION_URL": database.replace("postgresql:", "postgresql+asyncpg:"),
        "PREFECT_SERVER_API_AUTH_STRING": ":".join(AUTH),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
        "PREFECT_HOME": str(folder / "prefect"),
    }


def _deployed(servers: Servers) -> Servers:
    flow = servers.ask("POST", 0, "/flows/", {"name": "some"})
    hourly = {"schedule": {"interval": 3600}, "active": True}
    made = servers.ask("POST", 0, "/deployments/", {"name": "some", "flow_id": flow["id"], "schedules": [hourly]})
    trigger = {"type": "event", "posture": "Reactive", "expect": [EVENT], "threshold": 1, "within": 0}
    action = {"type": "run-deployment", "source": "selected", "deployment_id": made["id"]}
    servers.ask("POST", 0, "/automations/", {"name": "start", "trigger": trigger, "actions": [action]})
    return Servers(servers.urls, servers.first, made["id"])


def test_each_due_time_has_one_run(servers: Servers) -> None:
    wait_until(lambda: len(servers.runs(1, scheduled=True)) > 1, within_s=60, what="the runs of the schedule")
    due = [run["expected_start_time"] for run in servers.runs(1, scheduled=True)]
    assert len(set(due)) == len(due)
    moments = sorted(datetime.fromisoformat(each) for each in due)
    assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(hours=1)}


def test_event_that_one_server_was_told_of_starts_one_run_and_so_it_stays_when_a_server_is_killed(
    servers: Servers,
) -> None:
    def started(times: int) -> None:
        wait_until(lambda: len(servers.runs(1, scheduled=False)) >= times, within_s=60, what=f"{times} runs")
        assert len(servers.runs(1, scheduled=False)) == times

    servers.happen(0)
    started(1)
    servers.happen(1)
    started(2)
    os.kill(servers.first.pid, signal.SIGKILL)
    servers.happen(1)
    started(3)
