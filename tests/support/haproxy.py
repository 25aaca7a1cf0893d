"""A private HAProxy, and backends for it that name their slot."""

import collections
import contextlib
import http.client
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from blocks.context import Context
from blocks.routers.haproxy import HaproxyRouter
from blocks.routers.haproxy_config import Exposed, render
from blocks.routers.haproxy_files import create_maps
from tasks.common.lease import Grant
from tasks.common.model import Target
from tasks.rollout.model import Admission
from tasks.rollout.ports import Endpoint, Router
from tests.support.grants import DEFAULT
from tests.support.needs import need
from tests.support.processes import free_port, listens, short_folder, wait_until

TARGET = Target("campus", "production", "lab")
ELSEWHERE = Target("campus", "staging", "lab")
CAPACITY = 4
BLUE, GREEN = "campus_production_blue", "campus_production_green"
IN_AND_UP = (Admission.IN, True)


class Haproxy:
    """One HAProxy in master-worker mode: `TARGET` on `port`, `ELSEWHERE` on `elsewhere_port`. Use `running_haproxy`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "haproxy.sock"
        self.state = folder / "state"
        self.port = free_port()
        self.elsewhere_port = free_port()
        self.metrics_port = free_port()
        self.config = folder / "haproxy.cfg"
        self._log = folder / "haproxy.log"
        exposed = [
            Exposed(target.service, target.environment, f"127.0.0.1:{port}")
            for target, port in ((TARGET, self.port), (ELSEWHERE, self.elsewhere_port))
        ]
        self.state.mkdir()
        create_maps(exposed, self.state)
        metrics = f"127.0.0.1:{self.metrics_port}"
        self.config.write_text(
            render(exposed, socket=self.socket, state=self.state, metrics_address=metrics, capacity=CAPACITY)
        )
        self._master: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """HAProxy runs and answers on its runtime socket."""
        with self._log.open("ab") as log:
            self._master = subprocess.Popen(
                [need("haproxy"), "-W", "-db", "-f", self.config],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        wait_until(self.worker, what="HAProxy's start")

    def kill(self) -> None:
        """HAProxy was killed, master and workers, without a chance to say goodbye."""
        if self._master is not None:
            kill_group(self._master)

    def restart(self) -> None:
        """Another HAProxy runs with the same files."""
        self.kill()
        self.start()

    def reload(self) -> None:
        """A new worker has read the files and taken over."""
        worker = self.worker()
        wait_until(self._heard_reload, what="HAProxy's master to hear the signal")
        wait_until(lambda: self.worker() not in (None, worker), what="HAProxy's reload")

    def _heard_reload(self) -> bool:
        """A master that has just started or reloaded ignores the signal, so it is sent until the log shows it."""
        assert self._master is not None
        before = self._log.read_text().count("Reloading HAProxy")
        self._master.send_signal(signal.SIGUSR2)
        with contextlib.suppress(AssertionError):
            return wait_until(lambda: self._log.read_text().count("Reloading HAProxy") > before, within_s=1.0)
        return False

    def worker(self) -> int | None:
        """Return the process id of the worker that answers, if one does."""
        with contextlib.suppress(OSError):
            for line in self.command("show info").splitlines():
                if line.startswith("Pid: "):
                    return int(line.removeprefix("Pid: "))
        return None

    def command(self, text: str) -> str:
        """Return the answer to a raw command, as an operator would send it by hand."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5.0)
            connection.connect(str(self.socket))
            connection.sendall(f"{text}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode().strip("\n")

    def router(self, target: Target = TARGET, grant: Grant | None = DEFAULT, **settings: object) -> HaproxyRouter:
        """Return a router opened on this HAProxy, as an estate file with these settings would."""
        given = {"socket": "haproxy.sock", "state": "state", "capacity": CAPACITY, **settings}
        context = Context(base=self.folder, target=target, grant=grant)
        return HaproxyRouter(HaproxyRouter.Settings.model_validate(given), context)

    def get(self, path: str = "/", method: str = "GET") -> tuple[int, str]:
        """Return status and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def answers(self) -> set[str]:
        """Return who answers 20 requests."""
        return {self.get()[1] for _ in range(20)}


@contextlib.contextmanager
def running_haproxy() -> Iterator[Haproxy]:
    """A private HAProxy runs for the length of a `with`."""
    need("haproxy")
    with short_folder() as folder:
        haproxy = Haproxy(folder)
        try:
            haproxy.start()
            yield haproxy
        finally:
            haproxy.kill()


class Backend:
    """One process that answers requests with its name, and '/ready' with 200."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """It runs and listens. *Idempotent:* yes."""
        if self._process is not None and self._process.poll() is None:
            return
        script = Path(__file__).with_name("naming_server.py")
        argv = [sys.executable, "-S", "-E", str(script), self.name, str(self.port)]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda: listens(self.port), what=f"{self.name}'s start")

    def kill(self) -> None:
        """It was killed, without a chance to finish its requests."""
        assert self._process is not None
        kill_group(self._process)

    def fail_readiness(self, failing: bool = True) -> None:
        """Its readiness probe fails (or passes again), and it goes on answering requests."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1 if failing else signal.SIGUSR2)

    def endpoint(self, slot: str, index: int, health_path: str = "/ready") -> Endpoint:
        """Return it as a router is told of it."""
        return Endpoint(slot, index, self.address, health_path)


@contextlib.contextmanager
def backends(*names: str) -> Iterator[tuple[Backend, ...]]:
    """Backends of these names run for the length of a `with`."""
    with contextlib.ExitStack() as stack:
        started = []
        for name in names:
            backend = Backend(name)
            stack.callback(backend.kill)
            started.append(backend)
        yield tuple(started)


class Load:
    """Clients that ask one request after the other, each on a connection that it keeps. Use `load`."""

    def __init__(self, port: int) -> None:
        self.stopping = threading.Event()
        self.failures: list[str] = []
        self.by_name: collections.Counter[str] = collections.Counter()
        self._port = port

    @property
    def answered(self) -> int:
        """How many requests were answered with 200."""
        return self.by_name.total()

    def wait_for(self, more: int) -> None:
        """So many more requests were answered or failed."""
        goal = self.answered + len(self.failures) + more
        wait_until(lambda: self.answered + len(self.failures) >= goal, what=f"{more} more requests")

    def ask(self, method: str, path: str) -> None:
        """Ask until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self.stopping.is_set():
            try:
                connection.request(method, path)
                answer = connection.getresponse()
                body = answer.read().decode()
                if answer.status == 200:
                    self.by_name[body] += 1
                else:
                    self.failures.append(f"{method} {path}: {answer.status} {body}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{method} {path}: {error!r}")
                connection.close()
        connection.close()


@contextlib.contextmanager
def load(port: int, *requests: tuple[str, str]) -> Iterator[Load]:
    """For the length of a `with`, one client for each (method, path); a request under way is finished."""
    running = Load(port)
    clients = [threading.Thread(target=running.ask, args=request) for request in requests]
    for client in clients:
        client.start()
    try:
        yield running
    finally:
        running.stopping.set()
        for client in clients:
            client.join()


def count_answers(port: int, number: int) -> collections.Counter[str]:
    """Return who answered so many requests, sent a hundred at a time on one connection."""
    found: collections.Counter[str] = collections.Counter()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for _ in range(number // 100):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: campus\r\n\r\n" * 100)
            received, names = b"", list[str]()
            while len(names) < 100:
                part = connection.recv(1 << 16)
                assert part, "HAProxy closed the connection"
                received += part
                names = re.findall(r"\r\n\r\n(blue|green)", received.decode())
            found.update(names)
    return found


@contextlib.contextmanager
def relay(haproxy: Haproxy, answer: Callable[[str], Iterable[str] | None]) -> Iterator[str]:
    """A socket to HAProxy's runtime API; where `answer` returns text for a command, HAProxy does not get to see it.

    The text may come in pieces.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            command = self.rfile.readline().decode().strip()
            instead = answer(command)
            with contextlib.suppress(BrokenPipeError):
                for piece in [f"{haproxy.command(command)}\n\n"] if instead is None else instead:
                    self.wfile.write(piece.encode())

    path = haproxy.folder / "relay.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield str(path)
        finally:
            server.shutdown()
            thread.join()
            path.unlink()


@contextlib.contextmanager
def open_requests(haproxy: Haproxy, path: str, number: int) -> Iterator[list[str]]:
    """So many requests are under way; the list has what came back of each, once the `with` has ended."""
    came_back: list[str] = []

    def ask() -> None:
        try:
            status, body = haproxy.get(path)
            came_back.append(f"{status} {body}")
        except (OSError, http.client.HTTPException) as error:
            came_back.append(type(error).__name__)

    threads = [threading.Thread(target=ask) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield came_back
    finally:
        for thread in threads:
            thread.join()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """The process and its children are gone, at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def states(router: Router) -> dict[str, tuple[Admission, bool]]:
    """Return admission and health by member, such as 'blue0'."""
    return {f"{m.slot}{m.index}": (m.admission, m.up) for m in router.observe().members}


def await_open(router: Router, slot: str, number: int) -> None:
    """The members of the slot have so many open requests."""
    wait_until(
        lambda: sum(m.open_requests for m in router.observe().members if m.slot == slot) == number,
        what=f"{number} open requests of {slot}",
    )
