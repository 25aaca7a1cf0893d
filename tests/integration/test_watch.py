"""`slipway watch` and `slipway vantage` over real HTTP servers that are killed: one event an outage, and its flow."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client

from blocks.server import PrefectServer
from deployments.applying import carry_out, survey
from tasks.failover.request import FailoverRequest
from tests.support.failing_over import MemoryPlace, move_place
from tests.support.moving import ADDRESSES, NAME
from tests.support.prefect_server import flows_of, prefect_server
from tests.support.processes import end, free_port, listens, running, wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
SERVER = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1"]
CLI = [sys.executable, "-m", "deployments.cli"]
POINTS = ("east", "south", "west")


@dataclass
class Ground:
    """What is looked at, and who looks."""

    place: MemoryPlace
    stack: ExitStack
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, argv: list[str] | None = None) -> None:
        """A server runs on the port of that name."""
        port = self.ports.setdefault(name, free_port())
        env = {"PREFECT_API_URL": self.place.api, "SLIPWAY_VAR": str(self.place.folder / "var")}
        process = running(argv or [*SERVER, str(port)], log=self.place.folder / f"{name}.log", env=env, cwd=ROOT)
        self.processes[name] = self.stack.enter_context(process)
        if name != "watch":
            wait_until(lambda: listens(port), what=name)

    def kill(self, *names: str) -> None:
        """The servers are gone, as by a power cut."""
        for name in names:
            self.processes[name].kill()
            end(self.processes[name])

    def describe(self) -> None:
        """The estate file has a watch that looks often."""
        names = ("control", "site", "database", *POINTS)
        self.ports.update({name: free_port() for name in names})
        url = {name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        watch = {
            "points": {name: {"url": url[name]} for name in POINTS},
            "control": [url["control"]],
            "every": "300ms",
            "within": "1s",
        }
        self.place.describe(watch=watch, health={"site": url["site"], "database": url["database"]})

    def events(self) -> list[dict[str, Any]]:
        """Return the events about sites, oldest first."""
        wanted = {"filter": {"event": {"prefix": ["slipway.site."]}, "order": "ASC"}, "limit": 50}
        answer = httpx.post(f"{self.place.api}/events/filter", json=wanted, timeout=30).raise_for_status()
        return list(answer.json()["events"])

    def names(self) -> list[str]:
        return [each["event"] for each in self.events()]

    def log(self) -> str:
        """Return what the watch has said."""
        return (self.place.folder / "watch.log").read_text()

    def rounds(self, many: int) -> None:
        """So many rounds of looks have passed, as the vantage points' server of the control address has seen them."""
        log = self.place.folder / "control.log"
        before = log.read_text().count("GET")
        wait_until(lambda: log.read_text().count("GET") >= before + many * len(POINTS), what=f"{many} rounds")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prefect_server(tmp_path_factory.mktemp("prefect")) as address:
        yield address


@pytest.fixture
def ground(database_url: str, api: str) -> Iterator[Ground]:
    with move_place(database_url, api) as place, ExitStack() as stack:
        found = Ground(place, stack)
        found.describe()
        for name in ("control", "site", "database"):
            found.start(name)
        for name in POINTS:
            estate = str(place.folder / "estate.yaml")
            found.start(name, [*CLI, "vantage", "--estate", estate, "--port", str(found.ports[name])])
        yield found


def started(ground: Ground) -> list[dict[str, Any]]:
    """Return the parameters of the runs of the flow that the automation has started."""
    with flows_of(ground.place.api), get_client(sync_client=True) as client:
        return [run.parameters["request"] for run in client.read_flow_runs() if "requested_by" in str(run.parameters)]


def test_site_that_is_killed_is_told_once_and_its_failover_is_started(ground: Ground) -> None:
    with flows_of(ground.place.api):
        server, estate = PrefectServer(), ground.place.open().file
        carry_out(estate, server, survey(estate, server), lambda text: None)
        assert survey(estate, server).changes == ()
    ground.start("watch", [*CLI, "watch", "--estate", str(ground.place.folder / "estate.yaml")])
    wait_until(lambda: "shop: north: up" in ground.log(), what="the site was found up")
    ground.kill("east")
    ground.rounds(4)
    assert ground.names() == [], "one vantage point that is gone is no outage"
    ground.kill("site", "database")
    (down,) = wait_until(ground.events, what="the outage", every_s=0.2)
    payload = down["payload"]
    assert down["event"] == "slipway.site.down"
    assert (payload["failover"], payload["region"], payload["kind"]) == ("shop", "north", "site down")
    assert (payload["points"], payload["quorum"]) == ("2", "2")
    (asked,) = wait_until(lambda: started(ground), what="the run of the flow", every_s=0.2)
    request = FailoverRequest.model_validate(asked)
    assert (request.failover, request.region, request.finding, request.points) == ("shop", "north", "site down", 2)
    assert request.down_since is not None and request.down_since.isoformat() == payload["since"]
    ground.rounds(8)
    assert ground.names() == ["slipway.site.down"] and len(started(ground)) == 1
    ground.start("site")
    ground.start("database")
    wait_until(lambda: "slipway.site.up" in ground.names(), what="the end of the outage", every_s=0.2)
    ground.kill("database")
    wait_until(lambda: ground.names().count("slipway.site.down") == 2, what="the second outage", every_s=0.2)
    assert ground.events()[-1]["payload"]["kind"] == "database down"


def test_points_that_are_cut_off_start_nothing(ground: Ground) -> None:
    before = len(ground.names())
    ground.start("watch", [*CLI, "watch", "--estate", str(ground.place.folder / "estate.yaml")])
    wait_until(lambda: "shop: north: up" in ground.log(), what="the site was found up")
    ground.kill("control", "site", "database")
    wait_until(lambda: "shop: north: unknown" in ground.log(), what="nobody can say anything")
    time.sleep(2)
    assert len(ground.names()) == before


def test_watch_follows_the_users_to_the_site_that_the_names_point_to(ground: Ground) -> None:
    ground.start("watch", [*CLI, "watch", "--estate", str(ground.place.folder / "estate.yaml")])
    wait_until(lambda: "shop: watching north" in ground.log(), what="the first site")
    with ground.place.world() as world:
        world.names[NAME] = (list(ADDRESSES["south"]), 5)
    wait_until(lambda: "shop: watching south" in ground.log(), what="the second site")


def test_one_look_shows_what_each_point_sees_and_starts_nothing(ground: Ground) -> None:
    env = {**os.environ, "PREFECT_API_URL": ground.place.api, "SLIPWAY_VAR": str(ground.place.folder / "var")}
    argv = [*CLI, "watch", "--once", "--estate", str(ground.place.folder / "estate.yaml")]
    well = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert well.returncode == 0, well.stderr
    assert (
        "shop: north serves" in well.stdout and "  east: the site answers, and its database takes writes" in well.stdout
    )
    ground.kill("database", "west")
    ill = subprocess.run([*argv, "--json"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert ill.returncode == 1
    points = json.loads(ill.stdout)["shop"]["points"]
    assert points == {
        "east": {"site": True, "database": False, "control": True},
        "south": {"site": True, "database": False, "control": True},
        "west": None,
    }
