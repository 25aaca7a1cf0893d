"""The worker as a service: Prefect's worker, and beside it the fork server from which its runs start fast.

Run as `python -m deployments.worker.service FOLDER NAME`. This process does nothing but to watch the two, and imports
little: when the machine is out of memory, others are ended first.
"""

import ctypes
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deployments.worker import launch
from deployments.worker.warm import restart_after_s

LAUNCHER = "slipway-run"
"""What the deployments name as their command; found in the folder that the service puts before the worker's PATH."""
POOL = "slipway"
_ENDS = (signal.SIGTERM, signal.SIGINT)
_WATCHED = {*_ENDS, signal.SIGCHLD}
_POLLS_EVERY_S = "0.5"
_LOOKS_EVERY_S = 60.0
_PR_SET_PDEATHSIG = 1


def main(folder: Path, name: str) -> int:
    """Work until told to end; returns 0 then, and 1 where the worker has ended by itself.

    Args:
        folder: private to this service: the socket, and the command that runs are started with.
        name: of the worker, as the Prefect UI shows it; '' for one that Prefect makes up.
    """
    with _alone_in(folder):
        environment = _environment(folder)
        # What a shell starts in the background is to ignore it; Prefect's worker ends by it, also when told by SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # Waited for one after another, so that no handler ever runs beside what is done here.
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        server = _ForkServer([sys.executable, "-m", "deployments.worker.forkserver", str(_socket(folder))], environment)
        worker = _start(_worker_command(name), environment)
        try:
            asked = _watch(worker, server)
        finally:
            worker.kill()
            worker.wait()
            server.end()
    if not asked:
        _say(f"Prefect's worker has ended by itself, with {worker.returncode}")
    return 0 if asked else 1


class _ForkServer:
    """A fork server that is started again when it has ended."""

    def __init__(self, argv: Sequence[str], environment: dict[str, str]) -> None:
        self._argv, self._environment, self._waits_s = argv, environment, 0.0
        self._start()

    def _start(self) -> None:
        self._process, self._began_s = _start(self._argv, self._environment), time.monotonic()
        self._again_at_s: float | None = None

    def look(self) -> float:
        """It runs, or will after a pause; returns how many seconds later to look again at the latest."""
        now_s = time.monotonic()
        if self._process.poll() is not None and self._again_at_s is None:
            self._waits_s = restart_after_s(now_s - self._began_s, self._waits_s)
            self._again_at_s = now_s + self._waits_s
            _say(f"the fork server has ended, with {self._process.returncode}; another one in {self._waits_s:.0f} s")
        if self._again_at_s is not None and now_s >= self._again_at_s:
            self._start()
        return _LOOKS_EVERY_S if self._again_at_s is None else self._again_at_s - now_s

    def end(self) -> None:
        """It has ended; runs that it has forked go on."""
        self._process.kill()
        self._process.wait()


def _watch(worker: "subprocess.Popen[bytes]", server: _ForkServer) -> bool:
    """The worker has ended; returns whether it was told to."""
    asked = False
    while worker.poll() is None:
        # A fork server is of no use to a worker that takes no more runs.
        within_s = _LOOKS_EVERY_S if asked else server.look()
        taken = signal.sigtimedwait(_WATCHED, max(0.0, within_s))
        if taken is not None and taken.si_signo in _ENDS:
            asked = True
            if taken.si_signo == signal.SIGTERM:
                # Ctrl-C the worker has got from the terminal, too: a second one would kill it.
                worker.send_signal(signal.SIGTERM)
    return asked


def _start(argv: Sequence[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    # This process has one thread, so that nothing can be locked in the new one.
    return subprocess.Popen(list(argv), env=environment, preexec_fn=_begin)  # noqa: PLW1509


def _begin() -> None:
    """The new process dies with this one: two workers, of which nobody watches one, would be worse than none."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)


def _worker_command(name: str) -> list[str]:
    prefect = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    return [*prefect, "--name", name] if name else prefect


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment of both, which must be the same: else no run would be served warm."""
    path = os.pathsep.join([str(_write_launcher(folder)), os.environ.get("PATH", os.defpath)])
    return {"PREFECT_WORKER_QUERY_SECONDS": _POLLS_EVERY_S, **os.environ, "PATH": path}


def _write_launcher(folder: Path) -> Path:
    """Return a folder with the command. *Idempotent:* yes."""
    command = [sys.executable, "-I", "-S", str(Path(launch.__file__).absolute()), str(_socket(folder))]
    bin_folder = folder / "bin"
    bin_folder.mkdir(mode=0o700, exist_ok=True)
    new = bin_folder / f"{LAUNCHER}.new"
    new.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n", encoding="utf-8")
    new.chmod(0o700)
    new.replace(bin_folder / LAUNCHER)
    return bin_folder


def _socket(folder: Path) -> Path:
    return folder / "socket"


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other service uses the folder, which only this user can look into."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another worker uses {folder}: give this one another --folder")
            sys.exit(2)
        yield


def _say(text: str) -> None:
    print(f"slipway worker: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute(), sys.argv[2]))
