"""Places with a plan whose backups are restored into targets, and what those are seen to be afterwards."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow

from blocks.scratch.rooms import clear_dead
from blocks.targets.postgresql import PostgresqlTarget
from blocks.targets.servers import end_servers
from deployments.restore_command import answer_restore
from flows.restore import restore
from tasks.common.errors import SlipwayError
from tasks.common.lease import Grant
from tasks.common.run_steps import start_run
from tasks.common.schedules import DEPLOYMENT
from tasks.restore.request import RestoreRequest
from tests.integration.test_verify_flow import PLAN, SHOP, Place
from tests.support.docs import ROOT
from tests.support.postgresql import SUPERUSER, Cluster
from tests.support.prefect_server import flows_of
from tests.support.processes import free_port, quick_folder, short_folder
from tests.support.verifying import source, within

QUICK = {"fsync": "off", "unix_socket_directories": ""}


class Spot:
    """A target of the plan: a folder that nobody serves, until something is restored into it."""

    def __init__(self, data: Path, name: str, **spec: Any) -> None:
        self.name, self.data, self.spec = name, data, spec

    @property
    def asides(self) -> list[Path]:
        return sorted(self.data.parent.glob(f"{self.data.name}.aside-*"))

    def beside(self) -> list[str]:
        """Return what is beside the data folder, but for what has to be."""
        found = {path.name for path in self.data.parent.glob(f"{self.data.name}*")}
        return sorted(found - {self.data.name, f"{self.data.name}.slipway"})

    def end(self) -> None:
        """Nothing runs."""


class Target(Spot):
    """One that is served by PostgreSQL."""

    def __init__(self, folder: Path, name: str, password: str, **spec: Any) -> None:
        self.port, self.password = free_port(), password
        server = {"driver": "postgresql", "data": name, "port": self.port, "superuser": SUPERUSER, "options": QUICK}
        within = {"stop_within": "20s", "start_within": "20s"}
        super().__init__(folder / name, name, **{"server": {**server, **within}, **spec})

    def address(self, database: str = SHOP) -> str:
        return f"postgresql://{SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def rows(self, query: str, database: str = SHOP) -> list[tuple[Any, ...]]:
        with within(self.address(database)) as session:
            return session.execute(query).fetchall()  # type: ignore[arg-type]

    def execute(self, *statements: str) -> None:
        with within(self.address()) as session:
            for statement in statements:
                session.execute(statement)  # type: ignore[arg-type]

    @property
    def serves(self) -> bool:
        """Return whether somebody is let in on the address."""
        try:
            with psycopg.connect(self.address("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def end(self) -> None:
        for folder in (self.data, *self.data.parent.glob(f"{self.name}.*")):
            end_servers(folder, signal.SIGQUIT, 10)


class RestorePlace(Place):
    """An estate with a plan and its targets."""

    def __init__(self, folder: Path, scratch: Path, ledger: str, api: str, password: str = "") -> None:
        super().__init__(folder, scratch, ledger, api)
        self.targets: dict[str, Target] = {}
        self.spots: dict[str, Spot] = {}
        self.password = password

    def target(self, name: str, **spec: Any) -> Target:
        """Return a target that the next `plan` has."""
        self.targets[name] = self.spots[name] = Target(self.folder, name, self.password, **spec)
        return self.targets[name]

    def spot(self, name: str, *, at: str = "", source: bool = False, **settings: Any) -> Spot:
        """Return a target where nothing is started, and that the next `plan` has."""
        server = {"driver": "folder", "folder": at or name, **settings}
        self.spots[name] = Spot(self.folder / (at or name), name, server=server, source=source)
        return self.spots[name]

    def describe(self, engine: dict[str, Any], **plan: Any) -> None:
        """The estate file has the plan with its targets."""
        self.plan(engine, targets={each.name: each.spec for each in self.spots.values()}, **plan)

    def restore(self, to: str, **asked: Any) -> "Restored":
        with flows_of(self.api):
            request = RestoreRequest(plan=PLAN, to=to, estate=str(self.folder / "estate.yaml"), **asked)
            return Restored(self, restore(request, return_state=True), to)

    def begin(self, to: str, **asked: Any) -> str:
        """A run is started as the command line does it, until it waits for an answer; returns its id."""
        run_id = self.schedule(to, **asked)
        with flows_of(self.api), get_client(sync_client=True) as client, pytest.raises(Pause):
            self._work(client, run_id)
        return run_id

    def schedule(self, to: str, **asked: Any) -> str:
        """A run is scheduled that no worker has taken; returns its id."""
        with flows_of(self.api), get_client(sync_client=True) as client:
            client.create_deployment(flow_id=client.create_flow(restore), name=DEPLOYMENT)
            request = RestoreRequest(plan=PLAN, to=to, estate=str(self.folder / "estate.yaml"), **asked)
            return start_run("restore", request)

    def go_on(self, run_id: str, to: str) -> "Restored":
        """The run that was answered is carried on, as by a worker, to its end."""
        with flows_of(self.api), get_client(sync_client=True) as client, suppress(SlipwayError):
            self._work(client, run_id)
        return Restored(self, self.state_of(run_id), to)

    def state_of(self, run_id: str) -> State:
        """Return what the Prefect server says of the run."""
        with flows_of(self.api), get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(run_id)).state
            assert state is not None
            return state

    def answer(self, run_id: str, decision: str) -> None:
        """A person has answered."""
        with flows_of(self.api):
            said = {"decision": decision, "reason": "it is well", "name": "ann"}
            assert answer_restore(self.open().ledger.restores, run_id, said)

    def answer_in_the_form(self, run_id: str, decision: str) -> None:
        """A person has answered as the Prefect UI sends it."""
        said = {"decision": decision, "reason": "it is well", "name": "ann"}
        response = httpx.post(f"{self.api}/flow_runs/{run_id}/resume", json={"run_input": said}, timeout=60)
        assert response.json().get("status") == "ACCEPT", response.text

    def answer_on_the_command_line(self, run_id: str, decision: str) -> None:
        """A person has answered with the beginning of the run's id."""
        argv = [sys.executable, "-m", "deployments.cli", decision, run_id[:8], "--reason", "it is well", "--as", "ann"]
        env = {**os.environ, "PREFECT_API_URL": self.api, "SLIPWAY_VAR": str(self.folder / "var")}
        estate = ["--estate", str(self.folder / "estate.yaml")]
        done = subprocess.run([*argv, *estate], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"restore of {PLAN} into main: {decision}; run {run_id[:8]} goes on\n"

    def _work(self, client: SyncPrefectClient, run_id: str) -> None:
        run = client.read_flow_run(UUID(run_id))
        run_flow(restore, flow_run=run, parameters=run.parameters)

    def driver(self, name: str, grant: Grant | None = None) -> PostgresqlTarget:
        found = self.open().target(PLAN, name, grant)
        assert isinstance(found, PostgresqlTarget)
        return found


class Restored:
    """A run of the flow that has ended."""

    def __init__(self, place: RestorePlace, state: State, to: str) -> None:
        self.place, self.state, self.to = place, state, to
        assert state.state_details.flow_run_id is not None
        self.id = state.state_details.flow_run_id

    @property
    def said(self) -> str:
        """Return the run's last words, of a run that has failed."""
        assert self.state.is_failed(), self.state
        text = str(self.state.message)
        assert not [secret for secret in self.place.secrets if secret in text]
        return text

    @property
    def error(self) -> SlipwayError:
        assert self.state.is_failed(), self.state
        found = self.state.result(raise_on_failure=False)
        assert isinstance(found, SlipwayError), found
        assert all((found.what, found.on, found.state, found.next_action))
        assert not [secret for secret in self.place.secrets if secret in found.block()]
        return found

    def require_up(self) -> None:
        assert self.state.is_completed(), self.state.message

    @property
    def artifact(self) -> str:
        with flows_of(self.place.api), get_client(sync_client=True) as client:
            wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[self.id]))
            found = [str(each.data) for each in client.read_artifacts(artifact_filter=wanted) if _ours(each.key)]
        text = found[-1]
        assert not [secret for secret in self.place.secrets if secret in text]
        return text.replace("\\", "")


def _ours(key: str | None) -> bool:
    return bool(key) and str(key).startswith("restore-")


@contextmanager
def folder_place(ledger: str, api: str) -> Iterator[RestorePlace]:
    """A place whose source is no database."""
    with quick_folder() as folder, short_folder() as scratch:
        yield RestorePlace(folder, scratch, ledger, api)


@contextmanager
def restore_place(cluster: Cluster, ledger: str, api: str, database: str = SHOP) -> Iterator[RestorePlace]:
    """A place whose source is a database of the cluster; afterwards nothing of it runs."""
    with quick_folder() as folder, short_folder() as scratch:
        place = RestorePlace(folder, scratch, ledger, api, cluster.password)
        place.secrets = (cluster.password,)
        (folder / "password").write_text(cluster.password)
        source(folder, cluster, database).beat()
        try:
            yield place
        finally:
            for target in place.targets.values():
                target.end()
            clear_dead(scratch)
