"""The supervisord runtime when something around it goes wrong."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from blocks.context import Context
from blocks.fence import Fence
from blocks.runtimes import supervisor_rpc
from blocks.runtimes.probing import ready
from blocks.runtimes.programs import Program, ProgramFiles
from blocks.runtimes.supervisor_rpc import State, Supervisor
from blocks.runtimes.supervisord import SupervisordRuntime
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.common.model import Target
from tasks.rollout.model import Health
from tests.support.grants import holding
from tests.support.processes import free_port, listens, paused, wait_until
from tests.support.supervised import SECRET, Place, place_in
from tests.support.supervisor import (
    RunningSupervisor,
    children_of,
    running_supervisord,
)
from tests.support.workloads import release_of

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def supervisor() -> Iterator[RunningSupervisor]:
    with running_supervisord() as running_one:
        yield running_one


@pytest.fixture
def place(supervisor: RunningSupervisor, tmp_path: Path) -> Iterator[Place]:
    found = place_in(supervisor, tmp_path)
    yield found
    found.cleared()


# Starts that go wrong


def test_an_instance_that_dies_early_is_told_at_once_with_its_last_lines_redacted(place: Place) -> None:
    place.runtime().start("blue", [0], place.with_secret(EXIT="3", SAY="hello").workload)
    # Another runtime, as another process has: it has never resolved the secret.
    with pytest.raises(Retryable, match="died before it was ready") as caught:
        place.runtime().await_ready("blue", [0], 600.0)
    lines = str(caught.value.facts["last lines"])
    assert "says hello" in lines
    assert "cannot go on with [redacted]" in lines
    assert SECRET in (place.folder / "logs" / f"{place.name()}.log").read_text()
    assert SECRET not in str(caught.value)
    assert place.health() == [Health.DEAD]


def test_an_instance_that_dies_and_is_restarted_while_it_is_awaited_is_told(place: Place) -> None:
    unready = place.release(READY_STATUS="503")
    probes = unready.workload.probes
    patient = probes.readiness.model_copy(update={"timeout_s": 20.0})
    release = unready.changed(probes=probes.model_copy(update={"readiness": patient}))
    place.runtime().start("blue", [0, 1], release.workload)
    processes = Supervisor(place.supervisor.socket).processes
    doomed, hanging = place.name(index=0), place.name(index=1)
    wait_until(lambda: all(processes()[name].state is State.RUNNING for name in (doomed, hanging)), what="running")
    first, other = processes()[doomed].pid, processes()[hanging].pid
    # A probe that hangs keeps the wait from looking until the other instance has been restarted.
    with ThreadPoolExecutor(1) as pool:
        with paused(other):
            awaited = pool.submit(place.runtime().await_ready, "blue", [0, 1], 60.0)
            wait_until(lambda: place.ask()["probed"], what="the first probe")
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: processes()[doomed].pid not in (0, first), what="the restart")
        with pytest.raises(Retryable, match="died before it was ready"):
            awaited.result()


def test_last_lines_are_those_of_the_release_that_failed_not_of_the_one_before(place: Place) -> None:
    place.started(place.release("v1", SAY="first"))
    place.runtime().stop("blue", [0], 5.0)
    place.runtime().start("blue", [0], place.release("v2", SAY="second", EXIT="1").workload)
    with pytest.raises(Retryable) as caught:
        place.runtime().await_ready("blue", [0], 600.0)
    assert str(caught.value.facts["last lines"]).count("says") == str(caught.value).count("says second") > 0


def test_a_command_that_does_not_exist_is_told(place: Place) -> None:
    place.runtime().start("blue", [0], place.release().changed(command=("no-such-program",)).workload)
    with pytest.raises(Retryable, match="FileNotFoundError"):
        place.runtime().await_ready("blue", [0], 600.0)


def test_a_taken_port_is_refused_naming_who_holds_it(place: Place) -> None:
    release = place.release()
    with socket.create_server(("127.0.0.1", place.ports["blue"][0])):
        with pytest.raises(Refused, match=f"port {place.ports['blue'][0]}") as caught:
            place.runtime().start("blue", [1, 0], release.workload)
        comm = Path("/proc/self/comm").read_text().strip()
        assert caught.value.facts["held by"] == f"pid {os.getpid()} ({comm})"
    assert place.health() == []
    place.started(release)


def test_a_start_that_was_interrupted_before_supervisord_knew_is_seen_as_dead_and_healed(place: Place) -> None:
    release = place.release()
    place.started(release)
    text = place.file().read_text()
    place.runtime().stop("blue", [0], 5.0)
    place.file().write_text(text)
    assert place.health() == [Health.DEAD]
    place.started(release)
    assert place.health() == [Health.READY]


def test_an_instance_whose_file_was_removed_is_replaced(place: Place) -> None:
    release = place.release()
    place.started(release)
    before = place.ask()["pid"]
    place.file().unlink()
    assert place.health() == []
    place.runtime().start("blue", [0], release.workload)
    place.runtime().await_ready("blue", [0], 30.0)
    assert place.ask()["pid"] != before


def test_a_failing_instance_is_replaced_by_the_same_release_mended(place: Place) -> None:
    release = place.release(READY_STATUS="503")
    impatient = release.workload.probes.model_copy(update={"ready_within_s": 0.0})
    place.runtime().start("blue", [0], release.changed(probes=impatient).workload)
    wait_until(lambda: place.health() == [Health.FAILING], what="the failing probe")
    place.started(place.release())
    assert place.health() == [Health.READY]


def test_a_neighbours_broken_file_is_refused_without_showing_its_secret_and_ours_is_taken_back(place: Place) -> None:
    broken = place.supervisor.programs / "neighbour.conf"
    broken.write_text('[program:neighbour]\ncommand=true\nenvironment=KEY="hunter2-neighbour",BROKEN\n')
    try:
        with pytest.raises(Refused, match="supervisorctl reread") as caught:
            place.runtime().start("blue", [0], place.release().workload)
    finally:
        broken.unlink()
    assert "hunter2" not in str(caught.value)
    assert not place.file().exists()


def test_a_program_name_that_means_another_environment_is_refused(place: Place) -> None:
    place.started(place.release())
    other, environment = place.service.split("-")[0], f"{place.service.split('-')[1]}-production"
    ports = {other: {"blue": [free_port()]}}
    settings = SupervisordRuntime.Settings.model_validate(place.settings(ports=ports))
    runtime = SupervisordRuntime(settings, Context(place.folder, Target(other, environment, "lab"), grant=holding()))
    release = release_of("v1", place.folder, service=other)
    runtime.place(release.workload, release.archive)
    assert runtime.observe() == ()
    with pytest.raises(Refused, match=f"belongs to {place.service} in production"):
        runtime.start("blue", [0], release.workload)
    with pytest.raises(Refused, match=f"belongs to {place.service} in production"):
        runtime.stop("blue", [0], 5.0)
    assert place.health() == [Health.READY]


def test_a_file_that_was_damaged_stops_everything(place: Place) -> None:
    place.started(place.release())
    text = place.file().read_text()
    place.file().write_text(text.replace('"release"', '"relaese"', 1))
    with pytest.raises(Unsafe, match="cannot be understood"):
        place.runtime().observe()
    place.file().write_text(text)


# Supervisord gone or stuck


def test_supervisord_down_is_retryable_naming_the_socket_and_what_to_do(tmp_path: Path) -> None:
    with running_supervisord() as supervisor:
        place = place_in(supervisor, tmp_path)
        release = place.release()
        place.runtime().observe()
    runtime = place.runtime()
    for act in (runtime.observe, lambda: runtime.start("blue", [0], release.workload)):
        with pytest.raises(Retryable) as caught:
            act()
        assert caught.value.on == str(supervisor.socket)
        assert "start it" in caught.value.next_action


def test_supervisord_stuck_is_retryable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_rpc, "_TIMEOUT_S", 0.2)
    with (
        running_supervisord() as supervisor,
        paused(supervisor.pid),
        pytest.raises(Retryable, match="does not answer"),
    ):
        place_in(supervisor, tmp_path).runtime().observe()


def test_the_private_supervisord_leaves_nothing_running(tmp_path: Path) -> None:
    with running_supervisord() as supervisor:
        place = place_in(supervisor, tmp_path)
        place.started(place.release(IGNORE_TERM="1"))
        assert place.ask()["pid"] in children_of(supervisor.pid)
    assert not listens(place.ports["blue"][0])


# Parts


def test_readiness_is_asked_side_by_side() -> None:
    everybody_is_here = threading.Barrier(6)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            everybody_is_here.wait(20.0)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            del arguments

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        programs = [_program(index, server.server_address[1]) for index in range(6)]
        assert ready(programs) == {program.name for program in programs}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_hanging_instance_is_not_ready(place: Place) -> None:
    place.started(place.release())
    pid = place.ask()["pid"]
    with paused(pid):
        assert place.health() == [Health.STARTING]
    assert place.health() == [Health.READY]


def _program(index: int, port: int) -> Program:
    return Program(
        service="campus",
        environment="lab",
        slot="blue",
        index=index,
        release="v1",
        port=port,
        probe_path="/",
        probe_every_s=1.0,
        probe_timeout_s=20.0,
        start_delay_s=0.0,
        ready_within_s=30.0,
        secret_variables=(),
        log_from_bytes=0,
    )


def test_files_of_others_are_no_instances(tmp_path: Path) -> None:
    (tmp_path / "campus-lab-blue-0.conf").write_text("[program:campus-lab-blue-0]\ncommand=true\n")
    assert ProgramFiles(tmp_path, Fence(tmp_path / "fence", None, "campus")).of("campus", "lab") == {}


def test_a_port_that_is_given_twice_is_refused_in_the_settings() -> None:
    slots = {"blue": [8001, 8002], "green": [8002]}
    with pytest.raises(ValidationError, match=r"not 8002 again"):
        SupervisordRuntime.Settings(socket="s", programs="p", releases="r", logs="l", ports={"campus": slots})
