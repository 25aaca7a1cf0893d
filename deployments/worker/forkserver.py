"""A process that has imported everything that a flow needs, and forks one that runs it for whoever asks.

It never has a second thread, never runs a flow itself, and knows nothing that could not be imported again: when it
dies, its runs go on, and whoever asks meanwhile gets a cold process. When the code on the disk is not what it has
imported any more, it ends, so that another one is started.
"""

import fcntl
import gc
import importlib
import os
import pkgutil
import runpy
import select
import selectors
import signal
import socket
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployments.worker.launch import COLD, EXIT, FORKED, GO, LENGTH_BYTES, SIGNAL
from deployments.worker.warm import why_cold, why_not_alone

_PACKAGES = ("flows", "tasks", "blocks", "deployments")
_ENGINE = "prefect.engine"
# What the engine imports when it has a run; the engine itself is run, and not imported.
_BESIDE = ("prefect.flow_engine", "prefect._internal.metrics", "prefect._internal.control_listener")
_ASKS_WITHIN_S = 1.0
_NAME = Path("/proc/self/comm")
CHANGED = "the code has changed since the fork server was started"


@dataclass
class Request:
    """A run that wants a process.

    Args:
        connection: whoever waits for it.
        streams: standard input, output and error of the run.
        lifeline: readable as soon as nobody waits for the run any more.
        folder: where it runs.
        environment: all of its variables.
    """

    connection: socket.socket
    streams: tuple[int, int, int]
    lifeline: int
    folder: str
    environment: dict[str, str]

    def answer(self, text: str) -> None:
        """Whoever waits is told, if still there."""
        with suppress(OSError):
            self.connection.sendall(text.encode())

    def close(self) -> None:
        """The process knows nothing of it any more, but for the connection."""
        for descriptor in (*self.streams, self.lifeline):
            os.close(descriptor)


def serve(listener: socket.socket, decide: Callable[[Request], str | None]) -> Request | None:
    """Fork for each request; returns it in the new process, and None in this one when it is to end.

    Args:
        listener: where requests come from.
        decide: why a request is not to be served warm; None where it is. `CHANGED` ends the server.
    """
    children: dict[int, tuple[int, Request]] = {}
    with selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fd in children:
                    ready.unregister(key.fd)
                    _tell_end(*children.pop(key.fd))
                    os.close(key.fd)
                    continue
                request = _receive(listener)
                if request is None:
                    continue
                why = decide(request)
                if why is None:
                    handle = _fork(request, children)
                    if handle is None:
                        return request
                    ready.register(handle, selectors.EVENT_READ)
                    continue
                request.answer(f"{COLD} {why}")
                request.close()
                request.connection.close()
                if why == CHANGED:
                    return None


def _receive(listener: socket.socket) -> Request | None:
    """Return what is asked for; None where whoever asks has gone, or takes too long."""
    connection, _ = listener.accept()
    connection.settimeout(_ASKS_WITHIN_S)
    descriptors: list[int] = []
    try:
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 4, socket.MSG_CMSG_CLOEXEC)
        *streams, lifeline = descriptors
        stdin, stdout, stderr = streams
        length = int.from_bytes(_read(connection, LENGTH_BYTES), "big")
        folder, *variables = map(os.fsdecode, _read(connection, length).split(b"\0"))
    except (OSError, ValueError):
        for descriptor in descriptors:
            os.close(descriptor)
        connection.close()
        return None
    environment = dict(variable.split("=", 1) for variable in variables)
    return Request(connection, (stdin, stdout, stderr), lifeline, folder, environment)


def _read(connection: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        part = connection.recv(length - len(found))
        if not part:
            raise ConnectionResetError
        found += part
    return bytes(found)


def _fork(request: Request, children: dict[int, tuple[int, Request]]) -> int | None:
    """Return a handle of the new process; None within it, which knows nothing of the others."""
    pid = os.fork()
    if pid:
        request.close()
        handle = os.pidfd_open(pid)
        children[handle] = (pid, request)
        return handle
    for other, (_, its) in children.items():
        os.close(other)
        its.connection.close()
    return None


def _tell_end(pid: int, request: Request) -> None:
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    request.answer(f"{SIGNAL} {-code}\n" if code < 0 else f"{EXIT} {code}\n")
    request.connection.close()


def become(request: Request) -> None:
    """This forked process is the run's: its streams, folder and environment; it lives as long as somebody waits for it.

    It returns once whoever asked has said that it may begin, and ends the process if nobody does: the run may have been
    started otherwise by then.
    """
    os.environ.clear()
    os.environ.update(request.environment)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    for descriptor, standard in zip(request.streams, (0, 1, 2), strict=True):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(request.folder)
    sys.path[0] = request.folder
    # What Python keeps of its environment from before.
    tempfile.tempdir = None
    time.tzset()
    # So that 'ps' and 'top' tell one run from another.
    _NAME.write_text(f"run-{request.environment.get('PREFECT__FLOW_RUN_ID', '')[:8]}", encoding="ascii")
    # A process that it forks without another program must not keep the news of its end back.
    os.register_at_fork(after_in_child=request.connection.close)
    _await_go(request)


def _await_go(request: Request) -> None:
    request.connection.settimeout(None)
    try:
        socket.send_fds(request.connection, [FORKED], [os.pidfd_open(os.getpid())])
    except OSError:
        os._exit(0)
    if os.read(request.lifeline, len(GO)) != GO:
        os._exit(0)
    # The kernel kills this process when the other end of the lifeline is closed, whatever it does at that moment.
    fcntl.fcntl(request.lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(request.lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(request.lifeline, fcntl.F_SETFL, fcntl.fcntl(request.lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    closed = select.poll()
    closed.register(request.lifeline, 0)
    if closed.poll(0):
        os.kill(os.getpid(), signal.SIGKILL)


def run(request: Request, module: str) -> int:
    """The module has run as `python -m` runs it, and whoever waits knows the exit code; returns that."""
    sys.argv = [module]
    # It was imported, on purpose; else each run's log would begin with that.
    warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        request.answer(f"{EXIT} 1\n")
        raise
    request.answer(f"{EXIT} {code}\n")
    return code


def listen(path: Path) -> socket.socket:
    """Return a socket that only this user can ask at. *Idempotent:* yes; one that is left over is replaced."""
    # Who finds it can ask at once: one that is bound and does not listen yet refuses, and the run would start cold.
    unfinished = path.with_name(f"{path.name}~")
    unfinished.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(unfinished))
    finally:
        os.umask(before)
    listener.listen(socket.SOMAXCONN)
    unfinished.rename(path)
    return listener


def main(path: Path) -> int:
    """Serve at a path until the code changes; within each process that is forked, run its flow to the end."""
    # The service decides when it ends; Ctrl-C reaches everything in the terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    began_s, code = time.monotonic(), state_of_code()
    _import_all()
    problem = why_not_alone(len(list(Path("/proc/self/task").iterdir())))
    if problem:
        print(f"fork server: {problem}: every run starts cold", file=sys.stderr)
        return 1
    imported_with = _environment()

    def decide(request: Request) -> str | None:
        return CHANGED if state_of_code() != code else why_cold(imported_with, request.environment)

    listener = listen(path)
    took_s = time.monotonic() - began_s
    print(f"fork server: {len(sys.modules)} modules in {took_s:.1f} s; runs start warm", file=sys.stderr, flush=True)
    gc.collect()
    # Else the collector would write to, and so copy, every page in every new process.
    gc.freeze()
    request = serve(listener, decide)
    listener.close()
    if request is None:
        print(f"fork server: {CHANGED}", file=sys.stderr)
        return 0
    become(request)
    return run(request, _ENGINE)


def _import_all() -> None:
    from blocks import DRIVERS

    names = {module.name for module in pkgutil.iter_modules(importlib.import_module("flows").__path__, "flows.")}
    names |= {spec.partition(":")[0] for drivers in DRIVERS.values() for spec in drivers.values()}
    for name in (*_BESIDE, *sorted(name for name in names if not name.startswith("blocks.memory."))):
        importlib.import_module(name)


def _environment() -> dict[str, str]:
    """Return the environment that a worker with this one gives to its runs, but for what it adds for each.

    *Source:* Prefect 3.8.8, runner/_starter_engine.py: its own environment, and over it its settings as variables.
    """
    from prefect.settings import get_current_settings

    return {**os.environ, **get_current_settings().to_environment_variables(exclude_unset=True)}


def state_of_code() -> frozenset[tuple[str, int, int]]:
    """Return what tells whether another process would import the same: each file of ours, and what is installed.

    Prefect's profiles belong to it: they are read once, too.
    """
    folders = [str(Path(importlib.import_module(name).__file__ or "").parent) for name in _PACKAGES]
    others = [Path(sysconfig.get_path("purelib")), Path(os.environ.get("PREFECT_PROFILES_PATH", os.devnull))]
    found = [(str(path), path.stat()) for path in others if path.exists()]
    found += [(entry.path, entry.stat()) for folder in folders for entry in _modules(folder)]
    return frozenset((path, stat.st_mtime_ns, stat.st_size) for path, stat in found)


def _modules(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                yield entry
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _modules(entry.path)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
