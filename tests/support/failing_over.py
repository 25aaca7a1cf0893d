"""An estate with two sites in memory, and runs of the flows that move users between them."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow

from blocks.estate import OpenEstate, open_estate
from blocks.memory import world as memory
from blocks.memory.world import MemoryWorld, keep, opened
from flows.failback import failback
from flows.failover import failover
from flows.switchover import switchover
from tasks.common.errors import SlipwayError
from tasks.common.moves import MoveNote
from tasks.common.run_steps import start_run
from tasks.common.schedules import DEPLOYMENT
from tasks.failover.request import FailoverRequest, MoveRequest
from tests.support.moving import ADDRESSES, NAME, two_sites
from tests.support.prefect_server import flows_of
from tests.support.processes import die, quick_folder

FLOWS: dict[str, Flow[..., Any]] = {"failover": failover, "switchover": switchover, "failback": failback}
SHOP = "shop"
_ESTATE = """\
estate: lab
workspace: work
ledger: {driver: postgresql, dsn: "file:dsn", connect_timeout: 2s}
store: {driver: memory}
source: {driver: memory}
environments:
  production:
    url: http://127.0.0.1:1
    runtime: {driver: memory}
    router: {driver: memory}
    metrics: {driver: memory}
    replicas: 1
services:
  shop: {repository: shop}
regions:
  north: {role: primary, zone: eu, capacity: 60%, priority: 1}
  south: {role: standby, zone: eu, capacity: 60%, priority: 2}
"""


@dataclass
class MovePlace:
    """A folder with an estate file, and the Prefect server that shows its flows.

    Args:
        folder: with the file `estate.yaml`.
        api: of the Prefect server.
        failover: name of what is moved.
    """

    folder: Path
    api: str
    failover: str = SHOP

    def open(self) -> OpenEstate:
        return open_estate(str(self.folder / "estate.yaml"))

    def request(self, flow: str, **asked: Any) -> MoveRequest:
        kind = FailoverRequest if flow == "failover" else MoveRequest
        return kind.model_validate({"failover": self.failover, "estate": str(self.folder / "estate.yaml"), **asked})

    def run(self, flow: str, **asked: Any) -> "Moved":
        """A run of the flow has ended."""
        with flows_of(self.api):
            ended: Any = FLOWS[flow]
            return Moved(self, ended(self.request(flow, **asked), return_state=True))

    def begin(self, flow: str, **asked: Any) -> str:
        """A run is started as the command line does it, until it waits for an answer; returns its id."""
        with flows_of(self.api), get_client(sync_client=True) as client:
            client.create_deployment(flow_id=client.create_flow(FLOWS[flow]), name=DEPLOYMENT)
            run_id = start_run(flow, self.request(flow, **asked))
            with pytest.raises(Pause):
                self._work(client, flow, run_id)
        return run_id

    def go_on(self, flow: str, run_id: str) -> "Moved":
        """The run that was answered is carried on, as by a worker, to its end."""
        with flows_of(self.api), get_client(sync_client=True) as client:
            with suppress(SlipwayError):
                self._work(client, flow, run_id)
            state = client.read_flow_run(UUID(run_id)).state
            assert state is not None
            return Moved(self, state)

    def notes(self, limit: int = 50) -> list[MoveNote]:
        """Return what is on record of the failover."""
        return list(self.open().ledger.moves.history(self.failover, limit))

    def _work(self, client: SyncPrefectClient, flow: str, run_id: str) -> None:
        run = client.read_flow_run(UUID(run_id))
        run_flow(FLOWS[flow], flow_run=run, parameters=run.parameters)


class MemoryPlace(MovePlace):
    """An estate file, a ledger and a world that is kept in a file, so that it outlives processes."""

    def describe(self, health: dict[str, str] | None = None, **plan: Any) -> None:
        """The estate file has the failover `shop`."""
        memory = {"driver": "memory", "journal": "world.json"}
        sites = {
            name: {
                "cluster": {**memory, "site": name},
                "door": {**memory, "site": name},
                "addresses": list(ADDRESSES[name]),
                "primary_at": f"{name}:5432",
                **({"health": health} if health else {}),
            }
            for name in ("north", "south")
        }
        wanted = {
            "service": "shop",
            "environment": "production",
            "scope": "regional",
            "sites": sites,
            "dns": memory,
            "names": [NAME],
            "url": f"http://{NAME}:8080",
            "visitor": {**memory, "addresses": {ADDRESSES[name][0]: name for name in ("north", "south")}},
            "smoke": [{"path": "/health", "expect": 200}],
            "objectives": {"rto": "60s", "rpo": "5m"},
            "system_id": "1",
            "lease": "5s",
            "catch_up_within": "1s",
            "smoke_within": "1s",
            **plan,
        }
        text = _ESTATE + yaml.safe_dump({"failovers": {SHOP: wanted}})
        (self.folder / "estate.yaml").write_text(text)

    @contextmanager
    def world(self) -> Iterator[MemoryWorld]:
        """The world may be changed within the block."""
        with opened("", self.folder / "world.json") as world:
            yield world


class Moved:
    """A run that has ended."""

    def __init__(self, place: MovePlace, state: State) -> None:
        self.place, self.state = place, state
        assert state.state_details.flow_run_id is not None
        self.id = state.state_details.flow_run_id

    def require_done(self) -> None:
        assert self.state.is_completed(), self.state.message

    @property
    def error(self) -> SlipwayError:
        assert self.state.is_failed(), self.state
        found = self.state.result(raise_on_failure=False)
        assert isinstance(found, SlipwayError), found
        assert all((found.what, found.on, found.next_action))
        return found

    @property
    def said(self) -> str:
        """Return the run's last words, of a run that has failed."""
        assert self.state.is_failed(), self.state
        return str(self.state.message)

    @property
    def artifact(self) -> str:
        """Return the report."""
        with flows_of(self.place.api), get_client(sync_client=True) as client:
            wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[self.id]))
            found = [str(each.data) for each in client.read_artifacts(artifact_filter=wanted) if _ours(each.key)]
        return found[-1].replace("\\", "")


@contextmanager
def move_place(ledger: str, api: str) -> Iterator[MemoryPlace]:
    """A place whose users are at north, which south follows."""
    with quick_folder() as folder:
        (folder / "dsn").write_text(ledger)
        place = MemoryPlace(folder, api)
        place.describe()
        keep(two_sites("north", "south"), folder / "world.json")
        yield place


def _ours(key: str | None) -> bool:
    return str(key).startswith(("failover-", "switchover-", "failback-"))


def main() -> None:
    """Run a flow in this process, which dies at its change of that number: 'FLOW TO NUMBER before|after ESTATE'."""
    flow, to, number, when, estate = sys.argv[1:]
    _die_at(int(number), before=when == "before")
    kind = FailoverRequest if flow == "failover" else MoveRequest
    FLOWS[flow](kind.model_validate({"failover": SHOP, "to": to, "estate": estate}))


def _die_at(number: int, *, before: bool) -> None:
    """This process dies with -9 at its change of that number: before it is in the file, or right after it."""
    changes, kept = 0, memory.keep

    def dying(world: MemoryWorld, journal: Path) -> None:
        nonlocal changes
        changed = json.loads(journal.read_text("utf-8"))["changes"] != world.changes
        changes += changed
        die(changed and changes == number and before)
        kept(world, journal)
        die(changed and changes == number)

    memory.keep = dying


if __name__ == "__main__":
    main()
