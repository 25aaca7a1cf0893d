"""The supervisord runtime against a real supervisord: what instances are given, how they live on and end."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.runtimes.supervisor_rpc import State, Supervisor
from tasks.common.model import Resources
from tasks.rollout.model import Health
from tests.support.processes import listens, running, wait_until
from tests.support.supervised import SECRET, Place, place_in
from tests.support.supervisor import (
    RunningSupervisor,
    running_supervisord,
    supervisor_folder,
    supervisord_in,
)

pytestmark = pytest.mark.server

_ROOT = Path(__file__).parents[2]
_PLANTED = "SLIPWAY_TEST_OF_LEAKS"


@pytest.fixture(scope="module")
def supervisor() -> Iterator[RunningSupervisor]:
    with running_supervisord(env={_PLANTED: "of-supervisord"}) as running_one:
        yield running_one


@pytest.fixture
def place(supervisor: RunningSupervisor, tmp_path: Path) -> Iterator[Place]:
    found = place_in(supervisor, tmp_path)
    yield found
    found.cleared()


# Instances live on


def test_instances_survive_the_kill_of_the_process_that_started_them(place: Place, tmp_path: Path) -> None:
    release = place.release()
    script = """
import json, sys, time
from pathlib import Path
from blocks.context import Context
from blocks.runtimes.supervisord import SupervisordRuntime
from tasks.common.model import Probes, Resources, Target
from tasks.rollout.model import Workload
from tests.support.grants import holding
given = json.loads(sys.argv[1])
probes = Probes.model_validate({name: {"path": "/ready"} for name in ("liveness", "readiness")})
workload = Workload(**given["workload"], probes=probes, resources=Resources())
target = Target(workload.service, "production", "lab")
settings = SupervisordRuntime.Settings.model_validate(given["settings"])
SupervisordRuntime(settings, Context(Path("."), target, grant=holding())).start("blue", [0], workload)
print("started", flush=True)
time.sleep(600)
"""
    names = ("service", "release", "digest", "command", "port_variable", "env", "secrets", "drain_s")
    given = {"settings": place.settings(), "workload": {name: getattr(release.workload, name) for name in names}}
    log = tmp_path / "starter.log"
    with running([sys.executable, "-c", script, json.dumps(given)], log=log, cwd=_ROOT) as starter:
        wait_until(lambda: "started" in log.read_text(), what="the start")
        os.killpg(starter.pid, signal.SIGKILL)
        starter.wait()
    place.runtime().await_ready("blue", [0], 30.0)
    assert place.health() == [Health.READY]


def test_an_instance_that_was_killed_comes_back(place: Place) -> None:
    place.started(place.release())
    before = place.ask()["pid"]
    processes = Supervisor(place.supervisor.socket).processes
    # Earlier, it would count as a failed start, which is tried again in any case.
    wait_until(lambda: processes()[place.name()].state is State.RUNNING, what="the instance running")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: place.health() == [Health.READY] and place.ask()["pid"] != before, what="the restart")


def test_instances_come_back_with_their_secrets_when_supervisord_does(tmp_path: Path) -> None:
    with supervisor_folder() as folder:
        with supervisord_in(folder) as first:
            place = place_in(first, tmp_path)
            place.started(place.with_secret())
        assert not listens(place.ports["blue"][0])
        with supervisord_in(folder):
            wait_until(lambda: place.health() == [Health.READY], what="the instance")
            assert place.ask()["env"]["API_KEY"] == SECRET


# What an instance is given


def test_an_instance_gets_exactly_the_environment_that_it_should(place: Place) -> None:
    odd = 'it\'s "odd", 100 % %(here)s %(ENV_PATH)s ; # $HOME\nsecond=line \\ ü'
    place.started(place.with_secret(ODD=odd))
    found = place.ask()
    # LC_CTYPE is what Python sets for itself in some locales.
    assert {name: value for name, value in found["env"].items() if name != "LC_CTYPE"} == {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": found["directory"],
        "LANG": "C.UTF-8",
        "PORT": str(place.ports["blue"][0]),
        "ODD": odd,
        "API_KEY": SECRET,
        "SLIPWAY_RELEASE": "v1",
        "SLIPWAY_SERVICE": place.service,
        "SLIPWAY_ENVIRONMENT": "production",
        "SLIPWAY_SLOT": "blue",
    }


def test_the_planted_variable_is_in_the_environment_of_supervisord(place: Place) -> None:
    environment = Path(f"/proc/{place.supervisor.pid}/environ").read_bytes()
    assert f"{_PLANTED}=of-supervisord".encode() in environment


def test_a_secret_is_in_no_command_line_and_in_a_file_of_its_owner_alone(place: Place) -> None:
    release = place.with_secret()
    with _watched_command_lines() as seen:
        place.started(release)
    assert any("app.py" in line for line in seen)
    assert not any(SECRET in line for line in seen)
    assert stat.S_IMODE(place.file().stat().st_mode) == 0o600
    assert SECRET not in place.supervisor.log.read_text()


def test_the_watch_on_command_lines_finds_a_secret_in_one() -> None:
    argv = [sys.executable, "-c", "input()", SECRET]
    with _watched_command_lines() as seen, subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        wait_until(lambda: any(SECRET in line for line in seen), what="the finding")
        process.kill()


@contextlib.contextmanager
def _watched_command_lines() -> Iterator[set[str]]:
    """Collect every command line of the machine that can be caught, until the end of the `with`."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def test_limits_hold_for_the_instance(place: Place) -> None:
    limits = Resources.model_validate({"memory": "2GiB", "open_files": 100})
    place.started(place.release().changed(resources=limits))
    rows = Path(f"/proc/{place.ask()['pid']}/limits").read_text().splitlines()
    found = {row[:26].strip(): row[26:47].strip() for row in rows}
    assert (found["Max address space"], found["Max open files"]) == (str(2 * 2**30), "100")


def test_instances_run_as_the_user_that_is_set(supervisor: RunningSupervisor) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may run instances as somebody else")
    with supervisor_folder() as folder:
        place = place_in(supervisor, folder)
        runtime = place.runtime(user="nobody", path=[])
        try:
            runtime.start("blue", [0], place.release().workload)
            runtime.await_ready("blue", [0], 30.0)
            assert Path(f"/proc/{place.ask()['pid']}").stat().st_uid != 0
        finally:
            runtime.stop("blue", [0], 0.0)


# Ends


@pytest.mark.parametrize(("drain_s", "grace_s"), [(600.0, 0.3), (1.0, 600.0)])
def test_an_instance_that_ignores_its_stop_signal_is_killed_after_the_grace(
    place: Place, drain_s: float, grace_s: float
) -> None:
    place.started(place.release(IGNORE_TERM="1").changed(drain_s=drain_s))
    pid = place.ask()["pid"]
    place.runtime().stop("blue", [0], grace_s)
    assert not Path(f"/proc/{pid}").exists()
    assert not listens(place.ports["blue"][0])
    assert place.name() not in Supervisor(place.supervisor.socket).processes()
    assert not place.file().exists()


def test_children_that_ignore_the_stop_signal_are_killed_with_their_parent(place: Place) -> None:
    script = "trap '' TERM; python3 app.py & wait; wait"
    place.started(place.release(IGNORE_TERM="1").changed(command=("sh", "-c", script), drain_s=600.0))
    place.runtime().stop("blue", [0], 0.3)
    wait_until(lambda: not listens(place.ports["blue"][0]), what="the end of the child")


def test_an_interrupted_stop_is_finished_by_the_next(place: Place) -> None:
    place.started(place.release())
    Supervisor(place.supervisor.socket).ask_to_stop(place.name())
    wait_until(lambda: place.health() == [Health.DEAD], what="the end")
    place.runtime().stop("blue", [0], 5.0)
    assert place.health() == []
