"""Moves between the lab's two sites as a user has them: the commands, a worker, a watch and three vantage points.

Times are logged (--log-cli-level=INFO), and not asserted: a busy machine is no fault.
"""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.lab.sites import estate
from deployments.lab.sites.topology import DATABASE_NAME, OPERATOR
from deployments.terminal import Exit
from tests.support.prefect_server import prefect_server
from tests.support.processes import end, running, wait_until
from tests.support.site_moves import A, B, SitePlace, bring_home, site_place
from tests.support.sites import Sites, now

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
ROOT = Path(__file__).resolve().parents[3]
CLI = [sys.executable, "-m", "deployments.cli"]
_RUN = re.compile(r"run ([0-9a-f]{8}-[0-9a-f-]+)")


@dataclass
class Desk:
    """Where a person works: commands go to a Prefect server of their own, whose runs a worker takes."""

    sites: Sites
    place: SitePlace
    stack: ExitStack
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "PREFECT_API_URL": self.place.api,
            "SLIPWAY_ESTATE": str(self.place.folder / "estate.yaml"),
            "SLIPWAY_VAR": str(self.folder / "var"),
            "USER": "ada",
            "COLUMNS": "200",
        }

    def slipway(self, *arguments: str, ends_with: Exit = Exit.DONE) -> str:
        """The command has ended as it should; returns what it has said."""
        done = subprocess.run([*CLI, *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=400)
        assert done.returncode == ends_with, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def start(self, name: str, argv: list[str], host: str = OPERATOR) -> "subprocess.Popen[bytes]":
        """A program runs on the host until the end of the test."""
        command = argv if host == OPERATOR else self.sites.lab.network.command(host, argv)
        return self.stack.enter_context(running(command, log=self.log_of(name), env=self.env, cwd=ROOT))

    def log_of(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start_worker(self) -> "subprocess.Popen[bytes]":
        """Somebody takes the runs; returns who."""
        argv = [sys.executable, "-m", "deployments.worker.service", str(self.place.folder / "worker"), ""]
        return self.start("worker", argv)

    def start_vantage_points(self) -> None:
        """Three places that are in no site look at both."""
        for host in estate.VANTAGE_POINTS:
            self.start(f"vantage-{host}", [*CLI, "vantage", "--host", self.sites.lab.address(host)], host)
        wait_until(lambda: "not heard of" not in self._once(), within_s=240, what="three vantage points", every_s=1)

    def _once(self) -> str:
        done = subprocess.run([*CLI, "watch", "--once"], cwd=ROOT, env=self.env, capture_output=True, text=True)
        return done.stdout or "not heard of"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prefect_server(tmp_path_factory.mktemp("prefect")) as address:
        yield address


@pytest.fixture
def desk(sites: Sites, database_url: str, api: str, tmp_path: Path) -> Iterator[Desk]:
    with site_place(sites, database_url, api) as place, ExitStack() as stack:
        found = Desk(sites, place, stack, tmp_path)
        found.slipway("apply")
        found.start_worker()
        yield found


def test_commands_say_what_they_would_do_and_do_it(desk: Desk, sites: Sites) -> None:
    refused = desk.slipway("failover", "campus", "--plan", ends_with=Exit.REFUSED)
    assert f"{A} serves: its database takes writes, and its door is open" in refused
    assert "nothing was changed" in refused and "slipway switchover campus" in refused
    planned = desk.slipway("switchover", "campus", "--to", B, "--plan")
    assert f"switchover from {A} to {B}" in planned and f"{B}: promote" in planned
    assert sites.seen("a").serves, "a plan changes nothing"
    done = desk.slipway("switchover", "campus", "--to", B)
    assert "switchover of campus: Completed" in done
    assert sites.seen("b").serves
    desk.start_vantage_points()
    seen = desk.slipway("watch", "--once")
    assert f"campus: {B} serves, as the names have it" in seen
    assert seen.count("the site answers, and its database takes writes") == len(estate.VANTAGE_POINTS)
    assert "switchover of campus: Completed" in desk.slipway("switchover", "campus", "--to", A)
    again = desk.slipway("switchover", "campus", "--to", A, ends_with=Exit.REFUSED)
    assert f"{A} is the site that serves" in again
    sites.door("b").open()
    sites.wait_whole()


def test_site_that_is_cut_off_is_failed_over_by_itself_and_failed_back_to_by_a_person(
    desk: Desk, sites: Sites, tmp_path: Path
) -> None:
    desk.start_vantage_points()
    desk.start("watch", [*CLI, "watch"])
    wait_until(lambda: f"campus: {A}: up" in desk.log_of("watch").read_text(), within_s=240, what="the first look")
    with sites.visiting(tmp_path) as visiting, sites.writing(tmp_path) as writing:
        cut = now()
        sites.lab.network.unplug_site("a")
        wait_until(lambda: f"{A}: site down" in desk.log_of("watch").read_text(), within_s=240, what="the detection")
        _log.info("%.1f s from the cut to the detection", now() - cut)
        wait_until(
            lambda: sites.dns().observe(DATABASE_NAME).addresses == (sites.edge("b"),), within_s=240, what="the names"
        )
        _log.info("%.1f s from the cut to the names", now() - cut)
        writing.wait_for_success(now())
        _log.info("%.1f s from the cut to the first write", writing.longest_gap_s(cut))
        (run,) = wait_until(
            lambda: [note for note in desk.place.notes() if note.kind == "ended"], within_s=240, what="the record"
        )
        assert run.facts["closed"] == "reached", run.facts
        desk.slipway("watch", "--once")
        sites.lab.network.plug_in_site("a")
        moved = desk.start("failback", [*CLI, "failback", "campus", "--to", A])
        wait_until(
            lambda: "waits for an answer" in desk.log_of("failback").read_text(), within_s=240, what="a question"
        )
        found = _RUN.search(desk.log_of("failback").read_text())
        assert found is not None
        began = now()
        desk.slipway("approve", found[1][:8], "--reason", "its uplink is mended")
        moved.wait(300)
        assert moved.returncode == Exit.DONE, desk.log_of("failback").read_text()
        writing.wait_for_success(now())
        _log.info("failback: no write for %.1f s", writing.longest_gap_s(began))
    visiting.require_never_two()
    kept = {write.id for write in writing.acknowledged() if write.began > began}
    assert kept and not kept - sites.rows("a")
    end(moved)
    bring_home(sites)
