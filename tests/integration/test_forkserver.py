"""The fork server and the launcher, as real processes that are killed, stopped and left alone in turn."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from deployments.worker.launch import ASKED
from tests.support.forking import ROOT, Launched, Place, gone
from tests.support.processes import paused, short_folder, wait_until

TELL = "import os, pathlib\npathlib.Path('pid.new').write_text(str(os.getpid()))\nos.rename('pid.new', 'pid')\n"
LOOP = f"{TELL}while True:\n    pass\n"
WAIT = f"{TELL}import time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.02)\n"


@pytest.fixture
def place() -> Iterator[Place]:
    with short_folder() as folder:
        yield Place(folder)


def test_flow_runs_in_the_launchers_folder_with_its_environment_streams_and_exit_code(place: Place) -> None:
    flow = (
        "import os, sys\nprint(os.getcwd(), os.environ['SLIPWAY_WORD'], sys.path[0])\n"
        "print('on stderr', file=sys.stderr)\nsys.exit(7)\n"
    )
    with place.server(), place.launched(flow, SLIPWAY_WORD="hello") as run:
        assert run.end() == 7
        assert (run.out, run.err) == (f"{run.folder} hello {run.folder}\n", "on stderr\n")


@pytest.mark.parametrize(("flow", "code"), [("pass", 0), ("raise ValueError('bad')", 1), ("raise SystemExit('no')", 1)])
def test_flow_ends_with_the_code_that_python_would_end_with(place: Place, flow: str, code: int) -> None:
    with place.server(), place.launched(flow) as run:
        assert run.end() == code


def test_run_has_no_variable_that_only_the_fork_server_has(place: Place) -> None:
    flow = "import os\nprint(os.environ.get('SLIPWAY_WORD'))"
    with place.server(SLIPWAY_WORD="of the server"), place.launched(flow) as run:
        assert (run.end(), run.out) == (0, "None\n")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_runs_at_the_same_time_end_each_for_itself(place: Place, order: tuple[int, int]) -> None:
    with place.server(), place.launched(WAIT) as first:
        first.flow()
        with place.launched(WAIT) as second:
            second.flow()
            for number in order:
                run = (first, second)[number]
                (run.folder / "go").touch()
                assert run.end() == 0


def test_runs_do_not_share_their_random_numbers_nor_their_modules(place: Place) -> None:
    flow = "import random, blocks\nprint(random.random(), hasattr(blocks, 'mark'))\nblocks.mark = 1\n"
    with place.server(), place.launched(flow) as first, place.launched(flow) as second:
        assert (first.end(), second.end()) == (0, 0)
        assert first.out != second.out
        assert "True" not in first.out + second.out


def test_run_bears_its_name_for_whoever_looks_at_the_processes(place: Place) -> None:
    with place.server(), place.launched(WAIT, PREFECT__FLOW_RUN_ID="0123456789ab") as run:
        assert Path(f"/proc/{run.flow()}/comm").read_text() == "run-01234567\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_launcher_ends_by_the_signal_that_has_ended_the_flow(place: Place, number: signal.Signals) -> None:
    with place.server(), place.launched(LOOP) as run:
        os.kill(run.flow(), number)
        assert run.end() == -number


def test_flow_in_a_tight_loop_dies_with_its_killed_launcher(place: Place) -> None:
    with place.server(), place.launched(LOOP) as run:
        flow = run.flow()
        run.process.kill()
        wait_until(gone(flow), what="the end of the flow")


def test_flow_that_takes_no_signals_dies_with_its_killed_launcher(place: Place) -> None:
    deaf = f"import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\n{LOOP}"
    with place.server(), place.launched(deaf) as run:
        flow = run.flow()
        run.process.kill()
        wait_until(gone(flow), what="the end of the flow")


def test_program_that_a_flow_has_forked_does_not_keep_back_the_news_of_its_end(place: Place) -> None:
    flow = f"import os, time\nif os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)\n{TELL}os._exit(4)\n"
    with place.server(), place.launched(flow) as run:
        assert run.end() == 4
        # Its child is what the test has to end.
        _end_children_in(run.folder)


def _end_children_in(folder: Path) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder:
                os.kill(int(process.name), signal.SIGKILL)


def test_signal_to_the_launcher_reaches_the_flow(place: Place) -> None:
    flow = f"import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n{LOOP}"
    with place.server(), place.launched(flow) as run:
        run.flow()
        run.process.terminate()
        assert run.end() == 5


def test_signal_that_comes_before_there_is_a_process_is_kept_for_it(place: Place) -> None:
    with place.server() as server, paused(server.pid), place.launched(LOOP) as run:
        _await_handlers(run)
        run.process.terminate()
        os.kill(server.pid, signal.SIGCONT)
        assert run.end() == -signal.SIGTERM
        assert "cold" not in run.out


def _await_handlers(run: Launched) -> None:
    def caught() -> bool:
        status = Path(f"/proc/{run.process.pid}/status").read_text()
        mask = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
        return bool(mask >> (signal.SIGTERM - 1) & 1)

    wait_until(caught, what="the launcher's handlers")


def test_run_goes_on_and_is_waited_for_when_the_fork_server_is_killed(place: Place) -> None:
    with place.server() as server, place.launched(f"{WAIT}import sys\nsys.exit(6)\n") as run:
        run.flow()
        server.kill()
        server.wait()
        (run.folder / "go").touch()
        assert run.end() == 6


def test_flow_that_dies_without_a_word_when_nobody_can_say_how_was_killed(place: Place) -> None:
    with place.server() as server, place.launched(LOOP) as run:
        flow = run.flow()
        server.kill()
        server.wait()
        os.kill(flow, signal.SIGSEGV)
        assert run.end() == -signal.SIGKILL


def test_without_a_fork_server_the_start_is_cold_and_says_why(place: Place) -> None:
    with place.launched("print('warm')") as run:
        assert run.end() == 0
        assert run.out == "cold\n"
        assert run.err.startswith("slipway-run: a cold start: the fork server does not answer: ")


def test_socket_that_nobody_listens_at_any_more_is_a_cold_start(place: Place) -> None:
    with place.server() as server:
        server.kill()
        server.wait()
    with place.launched("print('warm')") as run:
        assert (run.end(), run.out) == (0, "cold\n")


@pytest.mark.slow
def test_run_that_has_started_cold_is_not_started_again_by_a_fork_server_that_wakes_up(place: Place) -> None:
    with place.server() as server:
        with paused(server.pid), place.launched("print('warm')") as run:
            assert (run.end(), run.out) == (0, "cold\n")
        # It answers the next one only when it is done with this one.
        with place.launched("pass") as after:
            assert after.end() == 0
        assert run.out == "cold\n"


def test_other_environment_is_a_cold_start_that_names_the_variable_and_keeps_its_value(place: Place) -> None:
    with place.server(), place.launched("print('warm')", PREFECT_LOGGING_LEVEL="s3cret-value") as run:
        assert (run.end(), run.out) == (0, "cold\n")
        assert "in PREFECT_LOGGING_LEVEL" in run.err
        assert "s3cret-value" not in run.err


def test_changed_code_is_a_cold_start_and_the_end_of_the_fork_server_but_not_of_its_runs(place: Place) -> None:
    with place.server() as server, place.launched(f"{WAIT}import sys\nsys.exit(6)\n") as before:
        before.flow()
        (place.folder / "code").write_text("2")
        with place.launched("print('warm')") as run:
            assert (run.end(), run.out) == (0, "cold\n")
            assert "the code has changed" in run.err
        assert server.wait(30) == 0
        (before.folder / "go").touch()
        assert before.end() == 6


def test_whoever_says_nothing_does_not_keep_the_fork_server_from_others(place: Place) -> None:
    with place.server(), _silent(place), place.launched("print('warm')") as run:
        assert (run.end(), run.out) == (0, "warm\n")


@contextmanager
def _silent(place: Place) -> Iterator[None]:
    """Somebody has begun to ask, and does not go on."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(place.socket))
        socket.send_fds(connection, [ASKED], [0, 1, 2, 0])
        yield


def test_no_secret_of_the_environment_is_an_argument_of_any_process(place: Place) -> None:
    secret = "planted-4711-secret"
    with place.server() as server, place.launched(WAIT, SLIPWAY_TOKEN=secret) as run:
        for pid in (server.pid, run.process.pid, run.flow()):
            assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        # The check would see it: it is there for whoever may read the launcher's environment.
        assert secret.encode() in Path(f"/proc/{run.process.pid}/environ").read_bytes()
        assert secret not in (place.folder / "server.log").read_text()


def test_only_its_user_can_ask_a_fork_server(place: Place) -> None:
    with place.server():
        assert place.socket.stat().st_mode & 0o777 == 0o600


def test_fork_server_with_a_second_thread_serves_nobody(place: Place) -> None:
    (place.folder / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "deployments.worker.forkserver", str(place.socket)],
        env={**os.environ, "PYTHONPATH": f"{place.folder}:{ROOT}", "PREFECT_HOME": str(place.folder / "prefect")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "has started 1 threads: every run starts cold" in done.stderr
    assert not place.socket.exists()
