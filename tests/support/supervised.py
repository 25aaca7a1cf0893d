"""A service under a private supervisord, with the tiny application as its releases."""

import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from blocks.context import Context
from blocks.runtimes.supervisord import SupervisordRuntime
from blocks.secrets import Secrets
from tasks.common.lease import Grant
from tasks.common.model import Target
from tasks.rollout.model import Health
from tests.support.grants import DEFAULT
from tests.support.processes import free_port
from tests.support.supervisor import RunningSupervisor
from tests.support.workloads import Release, release_of

SECRET = "s3cret-%(here)s-'quoted'-\"twice\" ; # end"


@dataclass(frozen=True)
class Place:
    """One service under a supervisord, with room for two instances in each slot."""

    supervisor: RunningSupervisor
    folder: Path
    service: str
    ports: dict[str, list[int]]

    def settings(self, **more: object) -> dict[str, object]:
        return {
            "socket": str(self.supervisor.socket),
            "programs": str(self.supervisor.programs),
            "releases": str(self.folder / "releases"),
            "logs": str(self.folder / "logs"),
            "ports": {self.service: self.ports},
            "path": [str(Path(sys.executable).parent)],
            **more,
        }

    def runtime(
        self, environment: str = "production", grant: Grant | None = DEFAULT, **more: object
    ) -> SupervisordRuntime:
        target = Target(self.service, environment, "lab")
        context = Context(self.folder, target, Secrets(self.folder), grant=grant)
        return SupervisordRuntime(SupervisordRuntime.Settings.model_validate(self.settings(**more)), context)

    def name(self, slot: str = "blue", index: int = 0) -> str:
        return f"{self.service}-production-{slot}-{index}"

    def file(self) -> Path:
        return self.supervisor.programs / f"{self.name()}.conf"

    def release(self, name: str = "v1", **env: str) -> Release:
        release = release_of(name, self.folder, service=self.service).with_env(**env)
        self.runtime().place(release.workload, release.archive)
        return release

    def with_secret(self, **env: str) -> Release:
        (self.folder / "api-key").write_text(SECRET)
        return self.release(**env).changed(secrets={"API_KEY": "file:api-key"})

    def ask(self, path: str = "/") -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.ports['blue'][0]}{path}").json()
        return answer

    def health(self) -> list[Health]:
        return [instance.health for instance in self.runtime().observe()]

    def started(self, release: Release) -> None:
        """Start the release as blue/0, and wait until it is ready."""
        self.runtime().start("blue", [0], release.workload)
        self.runtime().await_ready("blue", [0], 30.0)

    def cleared(self) -> None:
        """Stop everything."""
        for slot in self.ports:
            self.runtime().stop(slot, [0, 1], 0.0)


def place_in(supervisor: RunningSupervisor, folder: Path) -> Place:
    ports = {slot: [free_port(), free_port()] for slot in ("blue", "green")}
    return Place(supervisor, folder, f"campus-{uuid.uuid4().hex[:8]}", ports)
