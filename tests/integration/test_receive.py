"""`slipway receive` as a process of its own, with a real ledger and a real Prefect server: killed, and left alone."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Crashed, Failed, Paused, Running

from blocks.ledger import PostgresqlLedger
from tasks.common.delivery import Delivery, Status, Told
from tasks.common.run_steps import DEPLOYMENT
from tasks.release.request import ReleaseRequest
from tests.support.deliveries import RULE, SECRET, body, github, pushed
from tests.support.forge import TOKEN, FakeForge, fake_forge
from tests.support.ledger import open_ledger
from tests.support.prefect_server import prefect_server
from tests.support.processes import free_port, listens, running, wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
PUSH = body("github/push.branch.json")


@flow(name="release")
def asked_for(request: ReleaseRequest) -> None:
    """In place of the release: it is only asked for here, as no worker runs."""


class Server:
    """A Prefect server of these tests' own, which can be away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = ExitStack()
        self.port = free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        self._process.enter_context(prefect_server(self._folder, self.port))

    def stop(self) -> None:
        self._process.close()

    @contextmanager
    def away(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    def deploy(self) -> None:
        with temporary_settings({PREFECT_API_URL: self.api}), get_client(sync_client=True) as client:
            flow_id = client.create_flow(asked_for)
            client.create_deployment(
                flow_id=flow_id,
                name=DEPLOYMENT,
                parameter_openapi_schema=asked_for.parameters.model_dump(),
                enforce_parameter_schema=True,
            )

    def end(self, run_id: str, state: State) -> None:
        """The run is in a state, as if a worker had brought it there."""
        with temporary_settings({PREFECT_API_URL: self.api}), get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(run_id), state, force=True)

    def asked(self) -> list[str]:
        """Return the commits whose release was asked for, in order."""
        answer = httpx.post(f"{self.api}/flow_runs/filter", json={"limit": 200}, timeout=30)
        answer.raise_for_status()
        return [run["parameters"]["request"]["commit"] for run in sorted(answer.json(), key=lambda run: run["created"])]

    def commits(self) -> Counter[str]:
        """Return how often a release of each commit was asked for."""
        return Counter(self.asked())


class Receive:
    """`slipway receive`, started and ended at will."""

    def __init__(self, folder: Path, database_url: str, server: Server) -> None:
        self.port = free_port()
        self.url, self.inside = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{free_port()}"
        self.estate = folder / "estate.yaml"
        self.log = folder / "receive.log"
        self.ledger: PostgresqlLedger = open_ledger(folder, database_url)
        self.estate.write_text(yaml.safe_dump(estate(RULE.model_dump(mode="json"))))
        self.env = {
            "PREFECT_API_URL": server.api,
            "SLIPWAY_TEST_WEBHOOK": SECRET,
            "SLIPWAY_TEST_LEDGER": database_url,
            "SLIPWAY_VAR": str(folder / "var"),
        }

    def report_to(self, fake: FakeForge, kind: str = "github") -> None:
        """The estate's source tells the fake forge how its runs went."""
        settings = estate(RULE.model_dump(mode="json"))
        reports = {"driver": f"{kind}-status", "token": "env:SLIPWAY_TEST_FORGE", "url": fake.url, "timeout": "2s"}
        settings["webhooks"]["github"]["reports"] = reports
        self.estate.write_text(yaml.safe_dump(settings))
        self.env["SLIPWAY_TEST_FORGE"] = TOKEN

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "deployments.cli", *arguments, "--estate", str(self.estate)]

    @contextmanager
    def there(self) -> Iterator[subprocess.Popen[bytes]]:
        inside_port = self.inside.rpartition(":")[2]
        argv = self.argv("receive", "--port", str(self.port), "--inside-port", inside_port)
        with running(argv, log=self.log, env=self.env, cwd=ROOT) as process:
            wait_until(lambda: listens(self.port) or process.poll() is not None, what=f"the receiver, see {self.log},")
            assert process.poll() is None, self.log.read_text()
            yield process

    def send(self, payload: bytes, **headers: str) -> httpx.Response:
        return httpx.post(
            f"{self.url}/webhooks/github", content=payload, headers=github(payload, **headers), timeout=30
        )

    def deliveries(self) -> tuple[Delivery, ...]:
        return self.ledger.deliveries.latest(1000)

    def await_all_started(self) -> None:
        wait_until(
            lambda: {each.status for each in self.deliveries()} <= {Status.STARTED},
            within_s=60,
            what="the start of every run",
        )


def estate(rule: dict[str, Any]) -> dict[str, Any]:
    place = {
        "url": "http://127.0.0.1:1",
        "replicas": 1,
        "runtime": {"driver": "memory"},
        "router": {"driver": "memory"},
        "metrics": {"driver": "memory"},
    }
    return {
        "estate": "receiving",
        "workspace": "work",
        "ledger": {"driver": "postgresql", "dsn": "env:SLIPWAY_TEST_LEDGER"},
        "store": {"driver": "folder", "folder": "store"},
        "environments": {"production": place},
        "services": {"campus": {"repository": "nowhere"}},
        "webhooks": {"github": {"forge": "github", "secrets": ["env:SLIPWAY_TEST_WEBHOOK"], "rules": [rule]}},
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("prefect"))
    try:
        server.start()
        server.deploy()
        yield server
    finally:
        server.stop()


@pytest.fixture
def receive(tmp_path: Path, database_url: str, server: Server) -> Receive:
    return Receive(tmp_path, database_url, server)


def test_release_is_asked_for_once_and_a_wrong_parameter_is_on_record(
    receive: Receive, server: Server, tmp_path: Path
) -> None:
    before = server.commits()
    with receive.there():
        first, again = (receive.send(PUSH, id_="one") for _ in range(2))
        assert (first.status_code, again.json()["delivery"]) == (202, first.json()["delivery"])
        receive.await_all_started()
        assert server.commits() - before == {json.loads(PUSH)["after"]: 1}
        (run_id,) = {each.why for each in receive.deliveries()}
        assert f"/runs/flow-run/{run_id}" in httpx.get(receive.inside).text
        assert "slipway_delivery_runs_started_total 1.0" in httpx.get(f"{receive.inside}/metrics").text
        assert httpx.get(f"{receive.url}/metrics").status_code == 404, "forges reach the figures"
        shown = subprocess.run(
            receive.argv("deliveries"), env={**os.environ, **receive.env}, cwd=ROOT, text=True, capture_output=True
        )
    assert shown.returncode == 0, shown.stderr
    assert "started" in shown.stdout
    assert SECRET not in receive.log.read_text()


def test_killed_receiver_loses_nothing_and_starts_nothing_twice(receive: Receive, server: Server) -> None:
    payloads = {f"{number:040x}": pushed(f"{number:040x}") for number in range(1, 41)}
    unanswered = dict(payloads)

    def send(commit: str) -> None:
        try:
            answer = receive.send(payloads[commit], id_=commit)
        except httpx.TransportError:
            return
        assert answer.status_code == 202, answer.text
        del unanswered[commit]

    before = server.commits()
    with receive.there() as process, ThreadPoolExecutor(max_workers=4) as pool:
        sent = [pool.submit(send, commit) for commit in payloads]
        wait_until(lambda: sum((server.commits() - before).values()) >= 5, what="the first runs", every_s=0.005)
        os.killpg(process.pid, signal.SIGKILL)
        for each in sent:
            each.result()
    assert {each.status for each in receive.deliveries()} >= {Status.STARTED}
    with receive.there():
        # Who got no answer sends it again, as a person does from the forge's page.
        for commit in list(unanswered):
            send(commit)
        receive.await_all_started()
    assert not unanswered
    assert server.commits() - before == Counter(dict.fromkeys(payloads, 1))
    assert len(receive.deliveries()) == len(payloads)


def test_deliveries_wait_while_the_prefect_server_is_away_and_are_started_in_order(
    receive: Receive, server: Server
) -> None:
    commits = [f"{number:040x}" for number in range(101, 106)]
    with receive.there():
        with server.away():
            for commit in commits:
                assert receive.send(pushed(commit)).status_code == 202
            assert {each.status for each in receive.deliveries()} == {Status.WAITING}
        receive.await_all_started()
        assert [commit for commit in server.asked() if commit in commits] == commits


# --- how runs went, told to a fake of the forge's API


def run_of(receive: Receive, commit: str) -> str:
    """Return the run that the delivery of a commit has started."""
    receive.await_all_started()
    (run_id,) = [each.why for each in receive.deliveries() if each.event.commit == commit]
    return run_id


def told_last(receive: Receive) -> Told | None:
    """Return what the forge was told last about the only run that is open."""
    open_ = receive.ledger.deliveries.unreported(["github"], datetime(2020, 1, 1, tzinfo=UTC), 1)
    return open_[0].last.state if open_ and open_[0].last else None


def test_fake_forge_is_told_the_beginning_and_the_end_of_a_run_in_order_with_its_link(
    receive: Receive, server: Server
) -> None:
    good, bad = (f"{number:040x}" for number in (201, 202))
    with fake_forge() as fake:
        receive.report_to(fake)
        with receive.there():
            for commit in (good, bad):
                assert receive.send(pushed(commit)).status_code == 202
            wait_until(lambda: len(fake.taken) == 2, what="both beginnings")
            server.end(run_of(receive, good), Running())
            server.end(run_of(receive, good), Paused())
            wait_until(lambda: len(fake.states(good)) == 2, what="that it waits")
            server.end(run_of(receive, good), Completed(message="planted-message"))
            server.end(run_of(receive, bad), Failed(message="planted-message"))
            wait_until(lambda: len(fake.taken) == 5, what="both ends")
            assert fake.states(good) == ["pending", "pending", "success"]
            assert fake.states(bad) == ["pending", "failure"]
            told = {each["description"] for each in fake.taken}
            assert told == {
                "the release is at work",
                "the release waits for approval",
                "the release succeeded",
                "the release failed",
            }
            assert {each["name"] for each in fake.taken} == {"slipway/release"}
            links = {each["target_url"].rpartition("/runs/flow-run/")[2] for each in fake.taken}
            assert links == {run_of(receive, good), run_of(receive, bad)}
            assert 'slipway_delivery_reports_total{result="told"} 5.0' in httpx.get(f"{receive.inside}/metrics").text
        asked_once = len(fake.asked)
    assert asked_once == 5, "nothing is told twice"
    assert TOKEN not in receive.log.read_text()


def test_killed_receiver_tells_the_fake_forge_the_rest_when_it_is_back(receive: Receive, server: Server) -> None:
    commit = f"{203:040x}"
    with fake_forge() as fake:
        receive.report_to(fake, "gitlab")
        with receive.there() as process:
            receive.send(pushed(commit))
            wait_until(lambda: told_last(receive) is Told.PENDING, what="the beginning on record")
            os.killpg(process.pid, signal.SIGKILL)
        server.end(run_of(receive, commit), Crashed())
        with receive.there():
            # The dead one's lease has to expire before.
            wait_until(lambda: fake.states() == ["pending", "failed"], within_s=60, what="the end")
    with receive.ledger._database.session("") as connection:  # the ledger has no other way to look at these rows
        rows = connection.execute(
            "select number, state, refused from slipway.delivery_report order by number"
        ).fetchall()
        everything = str(
            connection.execute("select d::text, r::text from slipway.delivery d, slipway.delivery_report r").fetchall()
        )
    assert rows == [(1, "pending", ""), (2, "error", "")]
    assert TOKEN not in everything + receive.log.read_text()


def test_receiver_whose_forge_s_token_is_missing_does_not_start(receive: Receive) -> None:
    with fake_forge() as fake:
        receive.report_to(fake)
        del receive.env["SLIPWAY_TEST_FORGE"]
        argv = receive.argv("receive", "--port", str(receive.port), "--inside-port", receive.inside.rpartition(":")[2])
        done = subprocess.run(argv, env={**os.environ, **receive.env}, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode != 0
    assert "env:SLIPWAY_TEST_FORGE" in done.stdout + done.stderr
