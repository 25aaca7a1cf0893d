"""A place where drills are practised: a PostgreSQL that a loop starts again whenever it has ended, and an estate."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import psycopg
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State

from blocks.drills.undo_journal import UndoJournal
from blocks.estate import OpenEstate, open_estate
from deployments.lab import postgresql
from flows.drill import drill
from tasks.common.errors import SlipwayError
from tasks.drill.request import DrillRequest
from tests.integration.test_verify_flow import ESTATE
from tests.support.postgresql import Cluster
from tests.support.prefect_server import flows_of
from tests.support.processes import end, quick_folder, running, wait_until

LOOP = '#!/bin/sh\nwhile :; do "$@"; sleep 0.3; done\n'
SURE = {"fsync": "off", "full_page_writes": "off", "max_connections": "300"}
PROBES = [
    {"name": "users write", "figure": "writes", "at_least": "99%", "when": ["before", "after"]},
    {"name": "one node takes writes", "figure": "writable-nodes", "at_least": 1, "when": ["before", "after"]},
]


def experiment(name: str, *actions: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return an experiment on the place's cluster, which waits for as little as it can."""
    return {
        "drill": name,
        "title": f"what {name} says",
        "cluster": "copy",
        "hypothesis": {"says": "it holds", "probes": PROBES},
        "fault": {"on": "leader", "actions": list(actions)},
        "expect": "recovers-by-itself",
        "abort": [{"name": "nobody writes", "figure": "writes", "at_least": "1%", "for": "20s"}],
        "blast_radius": {"nodes": 1, "users": "some seconds"},
        "longest": "25s",
        "settle": "40s",
        "sustained": "2s",
        "load": {"writes_per_s": 50, "reads_per_s": 10},
        **more,
    }


KILL = {"driver": "kill", "pid_file": "{data}/postmaster.pid"}
STOP = {"driver": "stop", "pid_file": "{data}/postmaster.pid", "children": True}


class RunPlace:
    """A folder with an estate file, drills beside it, and the Prefect server that shows their runs.

    Args:
        folder: with the file `estate.yaml`.
        api: of the Prefect server.
        secrets: what nobody may be shown.
    """

    def __init__(self, folder: Path, api: str, secrets: tuple[str, ...]) -> None:
        self.folder, self.api = folder, api
        self.secrets: Sequence[str] = secrets

    def write(self, wanted: dict[str, Any]) -> None:
        """The experiment is among the estate's."""
        (self.folder / "drills").mkdir(exist_ok=True)
        (self.folder / "drills" / f"{wanted['drill']}.yaml").write_text(yaml.safe_dump(wanted))

    def open(self) -> OpenEstate:
        return open_estate(str(self.folder / "estate.yaml"))

    @property
    def journal(self) -> Path:
        return self.folder / "drills" / "journal"

    @property
    def undo_journal(self) -> UndoJournal:
        return UndoJournal(self.journal)

    def practise(self, name: str, **asked: Any) -> "Practised":
        with flows_of(self.api):
            request = DrillRequest(drill=name, estate=str(self.folder / "estate.yaml"), **asked)
            return Practised(self, drill(request, return_state=True))


class DrillPlace(RunPlace):
    """An estate with one cluster of one node, and the drills that a test describes."""

    def __init__(self, folder: Path, server: Cluster, address: str, ledger: str, api: str) -> None:
        super().__init__(folder, api, (server.role_password,))
        self.server, self.address = server, address
        (folder / "dsn").write_text(ledger)
        (folder / "users").write_text(address)
        with psycopg.connect(address) as session:
            (found,) = session.execute("select system_identifier::text from pg_control_system()").fetchone() or ("",)
        self.system_id = str(found)
        self.describe()

    def describe(self, **drills: Any) -> None:
        """The estate file has the cluster."""
        node = {"address": "file:users", "facts": {"data": str(self.server.data)}}
        cluster = {"id": self.system_id, "address": "file:users", "nodes": {"a1": node}, "objectives": {"rto": "20s"}}
        wanted = {"clusters": {"copy": {**cluster, **drills.pop("cluster", {})}}, **drills}
        (self.folder / "estate.yaml").write_text(ESTATE + yaml.safe_dump({"drills": wanted}))

    def serves(self) -> bool:
        with contextlib.suppress(psycopg.Error), psycopg.connect(self.address, connect_timeout=2):
            return True
        return False


class Practising(Protocol):
    """Where a drill was practised: the API of its Prefect server, and what must not be in what drills say."""

    @property
    def api(self) -> str: ...

    @property
    def secrets(self) -> Sequence[str]: ...


_HELD_UP = "the client itself was held up"


class Practised:
    """A run of the flow that has ended."""

    def __init__(self, place: Practising, state: State) -> None:
        self.place, self.state = place, state
        assert state.state_details.flow_run_id is not None
        self.id = str(state.state_details.flow_run_id)

    @property
    def error(self) -> SlipwayError:
        assert self.state.is_failed(), self.state
        found = self.state.result(raise_on_failure=False)
        assert isinstance(found, SlipwayError), found
        assert not [secret for secret in self.place.secrets if secret in found.block()]
        return found

    def require_passed(self) -> None:
        """It has, but for a client that a busy machine has held up: that is no fault of what was practised."""
        if self.state.is_completed():
            return
        wrong = [
            each for each in self.error.facts.get("wrong", "nothing was judged").splitlines() if _HELD_UP not in each
        ]
        assert not wrong, self.error.block()

    @property
    def artifact(self) -> str:
        with flows_of(self.place.api), get_client(sync_client=True) as client:
            wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[self.state.state_details.flow_run_id]))
            found = [
                each for each in client.read_artifacts(artifact_filter=wanted) if str(each.key).startswith("drill-")
            ]
        text = str(found[-1].data)
        assert not [secret for secret in self.place.secrets if secret in text]
        return text.replace("\\", "")


@contextlib.contextmanager
def respawned(server: Cluster, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server runs for the length of a `with`, and is started again by a loop whenever it has ended."""
    loop = folder / "loop"
    loop.write_text(LOOP)
    loop.chmod(0o755)
    argv = postgresql.server_command(server.data, server.port, folder / "sockets")
    argv += [part for name, value in SURE.items() for part in ("-c", f"{name}={value}")]
    with running([str(loop), *argv], log=folder / "server.log") as process:
        try:
            postgresql.wait_ready(server.port)
            yield process
        finally:
            end(process)
            pid = server.data / "postmaster.pid"
            wait_until(lambda: not pid.exists() or not _lives(pid), what="the end of the server")


def _lives(pid_file: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return Path("/proc", pid_file.read_text().split()[0]).exists()
    return False


@contextlib.contextmanager
def drill_place(ledger: str, api: str) -> Iterator[DrillPlace]:
    """A place with a server of its own; afterwards nothing of it runs."""
    with quick_folder() as folder:
        server = Cluster(folder)
        with respawned(server, folder):
            yield DrillPlace(folder, server, server.database(), ledger, api)
