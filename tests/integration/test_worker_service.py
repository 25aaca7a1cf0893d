"""`slipway worker` beside a real Prefect server: its parts, and what becomes of the rest when one is killed."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.lab.lab import ROOT
from deployments.worker.service import LAUNCHER, POOL
from tests.support.forking import gone
from tests.support.lab import children
from tests.support.processes import paused, running, short_folder, wait_until
from tests.support.standing_flow import ENTRYPOINT

pytestmark = [pytest.mark.server, pytest.mark.slow]
WITHIN_S = 120.0


@dataclass
class Service:
    """A worker as a service."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    api: str

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def fork_server(self) -> int:
        return self._child("deployments.worker.forkserver")

    @property
    def worker(self) -> int:
        return self._child("prefect\0worker\0start")

    def _child(self, command: str) -> int:
        def found() -> int:
            assert self.process.poll() is None, self.log
            return next((pid for pid in children(self.process.pid) if command in _command(pid)), 0)

        return wait_until(found, within_s=WITHIN_S, what=f"a process of {command!r}")

    def exit_code(self) -> int:
        try:
            return self.process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end; its log: {self.log}") from None

    def await_warm(self, times: int = 1) -> None:
        wait_until(lambda: self.log.count("runs start warm") >= times, within_s=WITHIN_S, what="the fork server")

    def ask(self, method: str, path: str, body: object = None) -> Any:
        def answered() -> httpx.Response | None:
            answer = httpx.request(method, f"{self.api}{path}", json=body, timeout=30)
            # Its database is SQLite, which is busy at times.
            return answer if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE else None

        answer = wait_until(answered, within_s=WITHIN_S, what="an answer of the Prefect server", every_s=0.2)
        assert answer is not None
        answer.raise_for_status()
        return answer.json() if answer.content else None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@contextmanager
def served(folder: Path, api: str) -> Iterator[Service]:
    env = {
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(folder / "prefect"),
        "PYTHONPATH": str(ROOT),
        "SLIPWAY_ESTATE": str(folder / "estate.yaml"),
    }
    argv = [
        sys.executable,
        "-m",
        "deployments.cli",
        "worker",
        "--folder",
        str(folder / "worker"),
        "--name",
        folder.name,
    ]
    with running(argv, log=folder / "log", env=env, cwd=ROOT) as process:
        yield Service(process, folder, api)


@pytest.fixture
def service(prefect_api: str) -> Iterator[Service]:
    """A service of the test's own, as it kills parts of it."""
    with short_folder() as folder, served(folder, prefect_api) as found:
        yield found


def test_service_that_is_told_to_end_ends_its_worker_and_its_fork_server_in_peace(service: Service) -> None:
    service.await_warm()
    wait_until(lambda: "started" in service.log, within_s=WITHIN_S, what="the worker")
    parts = service.fork_server, service.worker
    service.process.terminate()
    assert service.exit_code() == 0, service.log
    assert all(gone(pid)() for pid in parts)
    assert "Received SIGTERM" in service.log


def test_service_that_was_started_in_the_background_of_a_shell_ends_when_told_to(prefect_api: str) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with short_folder() as folder, served(folder, prefect_api) as service:
            service.await_warm()
            wait_until(lambda: "started" in service.log, within_s=WITHIN_S, what="the worker")
            service.process.terminate()
            assert service.exit_code() == 0, service.log
    finally:
        signal.signal(signal.SIGINT, before)


def test_killed_fork_server_is_replaced_and_the_worker_does_not_notice(service: Service) -> None:
    service.await_warm()
    worker, before = service.worker, service.fork_server
    os.kill(before, signal.SIGKILL)
    service.await_warm(2)
    assert (service.worker, service.fork_server != before) == (worker, True)


def test_service_ends_with_an_error_when_its_worker_is_killed(service: Service) -> None:
    server = service.fork_server
    os.kill(service.worker, signal.SIGKILL)
    assert service.exit_code() == 1
    assert "Prefect's worker has ended by itself" in service.log
    assert gone(server)()


def test_neither_worker_nor_fork_server_outlives_a_killed_service(service: Service) -> None:
    parts = service.fork_server, service.worker
    service.process.kill()
    wait_until(lambda: all(gone(pid)() for pid in parts), what="the end of both")


def test_run_starts_cold_where_there_is_no_fork_server(service: Service) -> None:
    service.await_warm()
    with paused(service.process.pid):
        # Nobody replaces it meanwhile.
        os.kill(service.fork_server, signal.SIGKILL)
        run = _begin(service)
        run.go_on()
        assert run.await_end()["type"] == "COMPLETED"
    assert "a cold start: the fork server does not answer" in service.log


def test_nothing_of_a_run_is_left_when_its_service_was_told_to_end(service: Service) -> None:
    service.await_warm()
    run = _begin(service)
    flow, _ = run.processes()
    service.process.terminate()
    assert service.exit_code() == 0, service.log
    # Prefect's worker kills its runs without telling the server; to reconcile is what brings them to an end.
    wait_until(gone(flow), what="the end of the flow")


def test_run_goes_on_to_its_end_when_the_service_is_killed(service: Service) -> None:
    service.await_warm()
    run = _begin(service)
    flow, _ = run.processes()
    worker = service.worker
    service.process.kill()
    wait_until(gone(worker), what="the end of the worker")
    run.go_on()
    assert run.await_end()["type"] == "COMPLETED"
    wait_until(gone(flow), what="the end of the flow")


class TestServiceThatIsLeftAlone:
    """What is run, and killed, beside the service's own parts."""

    @pytest.fixture(scope="class")
    def shared(self, prefect_api: str) -> Iterator[Service]:
        """One service for all of them, which must be the only one: any would take the runs."""
        with short_folder() as folder, served(folder, prefect_api) as found:
            found.await_warm()
            yield found

    def test_second_service_in_the_same_folder_is_refused_and_the_first_one_stays(self, shared: Service) -> None:
        parts = shared.worker, shared.fork_server
        with served(shared.folder, shared.api) as second:
            assert second.exit_code() == 2
        assert "give this one another --folder" in shared.log
        assert (shared.worker, shared.fork_server) == parts

    def test_deployed_flow_runs_in_a_fork_of_the_fork_server(self, shared: Service) -> None:
        before = shared.log.count("cold start")
        run = _begin(shared)
        _, parent = run.processes()
        assert parent == shared.fork_server, shared.log
        run.go_on()
        assert run.await_end()["type"] == "COMPLETED"
        assert shared.log.count("cold start") == before

    def test_run_with_settings_of_its_own_starts_cold_and_works(self, shared: Service) -> None:
        why = "a cold start: its environment differs from the worker's in PREFECT_LOGGING_LEVEL"
        assert why not in shared.log
        run = _begin(shared, PREFECT_LOGGING_LEVEL="WARNING")
        run.go_on()
        assert run.await_end()["type"] == "COMPLETED"
        assert why in shared.log

    @pytest.mark.parametrize("part", ["flow", "launcher"])
    def test_killed_run_is_crashed_with_the_words_of_the_signal_and_nothing_of_it_is_left(
        self, shared: Service, part: str
    ) -> None:
        wait_until(lambda: not children(shared.worker), what="the end of every other run's launcher")
        run = _begin(shared)
        flow, _ = run.processes()
        (launcher,) = children(shared.worker)
        os.kill(flow if part == "flow" else launcher, signal.SIGKILL)
        state = run.await_end()
        assert state["type"] == "CRASHED", state
        assert "status code: -9" in state["message"]
        wait_until(lambda: gone(flow)() and gone(launcher)(), what="the end of both")

    def test_cancelled_run_ends_as_cancelled(self, shared: Service) -> None:
        run = _begin(shared)
        flow, _ = run.processes()
        shared.ask("POST", f"/flow_runs/{run.id}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
        assert run.await_end()["type"] == "CANCELLED"
        wait_until(gone(flow), what="the end of the flow")


@dataclass
class Run:
    """A run of the standing flow."""

    id: str
    folder: Path
    service: Service

    def processes(self) -> tuple[int, int]:
        """Return the flow's process and its parent."""
        wait_until((self.folder / "pid").exists, within_s=WITHIN_S, what="the flow's process")
        flow, parent = map(int, (self.folder / "pid").read_text().split())
        return flow, parent

    def go_on(self) -> None:
        (self.folder / "go").touch()

    def await_end(self) -> Any:
        """Return the run's last state."""

        def ended() -> Any:
            state = self.service.ask("GET", f"/flow_runs/{self.id}")["state"]
            return state if state["type"] in ("COMPLETED", "CRASHED", "FAILED", "CANCELLED") else None

        return wait_until(ended, within_s=WITHIN_S, what="the end of the run", every_s=0.2)


def _begin(service: Service, **env: str) -> Run:
    """A run of the standing flow is scheduled, with variables of its own."""
    flow = service.ask("POST", "/flows/", {"name": "stand"})["id"]
    deployment = {
        "name": service.folder.name,
        "flow_id": flow,
        "entrypoint": ENTRYPOINT,
        "work_pool_name": POOL,
        "job_variables": {"command": LAUNCHER, "env": env},
    }
    wait_until(lambda: "started" in service.log, within_s=WITHIN_S, what="the worker")
    made = service.ask("POST", "/deployments/", deployment)["id"]
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=service.folder))
    run = service.ask("POST", f"/deployments/{made}/create_flow_run", {"parameters": {"folder": str(folder)}})
    return Run(run["id"], folder, service)
