"""Servers that tests start, and end by their process id, also when a test fails."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_FIRST_PORT = 10_000
_PORTS_EACH = 5_000
_SHORTEST_S, _LONGEST_S = 0.02, 0.2
_SHARE = 0.05
"""Of the time that was waited already, for which it is not looked again."""


_given: set[int] = set()
_giving = threading.Lock()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now, and that nobody else of this test run is given.

    From below the range that the system takes for connections, each process of the run from a part of its own.
    """
    part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(_FIRST_PORT + part * _PORTS_EACH, _FIRST_PORT + (part + 1) * _PORTS_EACH)
    with _giving:
        for port in random.sample(ports, len(ports)):
            # Many are kept for instances that are started later: a free one may be somebody's all the same.
            if port in _given:
                continue
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port
    raise AssertionError(f"no port is free from {ports.start} to {ports.stop - 1}")


def die(now: bool) -> None:
    """This process has killed itself with -9, if it is to."""
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


def require_killed(act: Callable[[], None], moment: str) -> None:
    """A forked process that did it has killed itself with -9 at the moment."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"it was not killed {moment}: {status}"


def wait_until(
    condition: Callable[[], T], *, within_s: float = 30.0, what: str = "the condition", every_s: float | None = None
) -> T:
    """Poll until the condition is true, and return what it returned. A timeout fails the test, naming `what`.

    Without `every_s` it is looked often at first, and ever more seldom the longer it takes: many looks cost as much as
    what they wait for, and take the processor from it.
    """
    began = time.monotonic()
    while True:
        found = condition()
        if found:
            return found
        waited_s = time.monotonic() - began
        if waited_s > within_s:
            raise AssertionError(f"{what} did not come true within {within_s} s")
        time.sleep(every_s or min(max(_SHORTEST_S, waited_s * _SHARE), _LONGEST_S))


def stands_still(pid: int) -> bool:
    """Return whether all threads of a process are stopped."""
    states = set()
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        # A thread may have ended since they were listed.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The second field, the name in brackets, may hold blanks.
            states.add(path.read_text().rpartition(") ")[2][0])
    return states == {"T"}


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    """The process stands still within the `with`, as on a frozen machine, and wakes up with its end.

    One thread takes the signal and stops the others: they may still answer somebody when it has been sent.
    """
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: stands_still(pid), what="the stop of all threads")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def arguments(pids: Iterable[int]) -> list[str]:
    """Return the command line of each process that still runs."""
    found = []
    for pid in pids:
        # One of them may have ended since they were listed.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(Path(f"/proc/{pid}/cmdline").read_text())
    return found


def listens(port: int) -> bool:
    """Return whether somebody listens on the port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(
    argv: Sequence[str], *, log: Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in its own process group for the length of a `with`; its output goes to the file `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            list(argv),
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], *, grace_s: float = 10.0) -> None:
    """End a process group: asked first, killed after the grace."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def pytest_folders(tmp_path: Path) -> list[Path]:
    """Return the folder and those of pytest above it, which other users must be let into; never the system's own."""
    return [folder for folder in (tmp_path, *tmp_path.parents) if "pytest-of-" in folder.as_posix()]


@contextlib.contextmanager
def short_folder(above: str = "/tmp") -> Iterator[Path]:
    """A folder right under /tmp for the length of a `with`, as a UNIX socket's path may have 107 characters at most."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-", dir=above))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory, where that can be had, for the length of a `with`: a thousand small files need no disk."""
    with short_folder("/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp") as folder:
        yield folder
