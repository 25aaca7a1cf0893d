"""Where a person works at the lab's two sites: commands, a worker, a watch, and vantage points."""

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from deployments.lab.sites import estate
from deployments.lab.sites.topology import OPERATOR
from deployments.terminal import Exit
from tests.support.docs import ROOT
from tests.support.processes import running, wait_until
from tests.support.site_moves import SitePlace
from tests.support.sites import Sites

CLI = [sys.executable, "-m", "deployments.cli"]


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

    def watch_every(self, every: str) -> None:
        """The estate's watch looks so often; before it is started."""
        watch = {**estate.failover(self.sites.lab)["watch"], "every": every}
        self.place.describe(self.sites, watch=watch)

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
