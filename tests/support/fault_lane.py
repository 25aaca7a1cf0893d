"""A lane: a small estate where one fault after another is tried on releases, in processes that can be killed."""

import contextlib
import http.client
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from blocks.estate import OpenEstate, Site, open_estate
from blocks.runtimes.supervisor_rpc import Supervisor
from tasks.common.errors import SlipwayError
from tasks.release.model import ReleaseRecord
from tasks.rollout.model import Admission, Routing
from tests.support.haproxy import Haproxy
from tests.support.processes import free_port, listens, wait_until
from tests.support.small import APP, RUN_SECRET, SERVICE, TEST_SECRET, Small
from tests.support.stand import FEATURE, run_flow, serve_prefect

T = TypeVar("T")

REPLICAS = 2
_FORKING = multiprocessing.get_context("forkserver")
# pytest, as every process looks again at what its parent was started as.
_FORKING.set_forkserver_preload(["tests.support.stand", "pytest"])
_WITHIN_S = 180.0
_PAUSE_S = 0.1
_GOOD, _BAD = "vector(0)", "vector(5)"


class PrefectServer:
    """A Prefect server that can be killed, and started again with the same database and port."""

    def __init__(self, folder: Path, database: str) -> None:
        self._port = free_port()
        self._log = folder / "prefect.log"
        self.env = {
            "PREFECT_API_URL": f"http://127.0.0.1:{self._port}/api",
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_DATABASE_CONNECTION_URL": database.replace("postgresql:", "postgresql+asyncpg:"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
        }

    def start(self) -> None:
        """It runs and answers."""
        arguments = (self._port, self.env, self._log)
        self._process = _FORKING.Process(target=serve_prefect, args=arguments, daemon=True)
        self._process.start()
        wait_until(self._answers, within_s=_WITHIN_S, what=f"the Prefect server, see {self._log},")

    def kill(self) -> None:
        """It was killed, without a chance to say goodbye."""
        _kill(self._process.pid)
        self._process.join()

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.env['PREFECT_API_URL']}/health", timeout=2).is_success
        return False


class FlowProcess:
    """A flow that runs in a process of its own, and stands still before the step `at`."""

    def __init__(
        self,
        name: str,
        request: Mapping[str, str],
        env: Mapping[str, str],
        log: Path,
        at: str = "",
        candidate: str = "",
    ) -> None:
        self.steps: list[str] = []
        self.failures: list[str] = []
        self.error: str | None = None
        self._at = at
        self._log = log
        self._pipe, theirs = _FORKING.Pipe()
        self._process = _FORKING.Process(
            target=run_flow, args=(name, request, env, log, theirs, at, candidate), daemon=True
        )
        self._process.start()
        theirs.close()

    def await_stand(self) -> None:
        """It stands before its step."""
        while self._at not in self.steps:
            assert self._hear(), f"it ended before it came to '{self._at}': {self.error}; see {self._log}"

    def go_on(self) -> None:
        """It stands no more."""
        self._pipe.send("go on")

    def await_failure(self) -> None:
        """A call of a driver has failed, or the flow has ended."""
        while not self.failures and self._hear():
            pass

    def end(self) -> str:
        """Wait for the end of the flow, and return what it raised; '' if it succeeded."""
        while self._hear():
            pass
        self._process.join(_WITHIN_S)
        assert self.error is not None, f"its process died: {self._process.exitcode}; see {self._log}"
        return self.error

    @property
    def alive(self) -> bool:
        """Return whether its process is there."""
        return self._process.is_alive()

    def kill(self) -> None:
        """It was killed, without a chance to do anything. *Idempotent:* yes."""
        if self._process.is_alive():
            _kill(self._process.pid)
        self._process.join()

    def _hear(self) -> bool:
        """Return whether another message has come; not if the process has gone."""
        assert self._pipe.poll(_WITHIN_S), f"nothing was heard for {_WITHIN_S:g} s; see {self._log}"
        try:
            kind, text = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            return False
        match kind:
            case "reached":
                self.steps.append(text)
            case "failed":
                self.failures.append(text)
            case "ended":
                self.error = text
        return True


@dataclass(frozen=True)
class Visit:
    """One request of a user; times are those of `time.monotonic`. `error` is '' for a good answer."""

    sent_at: float
    ended_at: float
    release: str
    error: str


@dataclass
class Watched:
    """What users got, and how the router shared their requests, in the order in which it was seen."""

    visits: list[Visit] = field(default_factory=list)
    routings: list[Routing] = field(default_factory=list)


class _Watch:
    """Users, and somebody who looks at the router, until told that it is over."""

    def __init__(self, lane: "Lane") -> None:
        self.found = Watched()
        self._lane = lane
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(method,)) for method in ("GET", "POST")]
        self._threads.append(threading.Thread(target=self._observe))

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, method: str) -> None:
        while not self._over.wait(_PAUSE_S):
            sent_at, release, error = time.monotonic(), "", ""
            connection = http.client.HTTPConnection("127.0.0.1", self._lane.haproxy.port, timeout=30)
            try:
                connection.request(method, "/")
                answer = connection.getresponse()
                release = answer.read().decode().partition(" ")[0]
                error = "" if answer.status == 200 else f"{method}: {answer.status}"
            except (OSError, http.client.HTTPException) as problem:
                error = f"{method}: {problem!r}"
            finally:
                connection.close()
            self.found.visits.append(Visit(sent_at, time.monotonic(), release, error))

    def _observe(self) -> None:
        router = self._lane.site().router
        while not self._over.wait(_PAUSE_S):
            with contextlib.suppress(SlipwayError):
                self.found.routings.append(router.observe())


class Lane:
    """A small estate, its Prefect server, and the flows that are run there one after another."""

    def __init__(self, small: Small, prefect: PrefectServer, prometheus: str) -> None:
        self.small = small
        self.prefect = prefect
        self.haproxy: Haproxy = small.haproxy
        self._started = 0
        _rewrite(small, prometheus)
        self.estate: OpenEstate = open_estate(str(small.file))
        self.estate.ledger.prepare()

    def site(self) -> Site:
        """Return production, to be looked at."""
        return self.estate.site("campus", "production")

    def serving(self) -> str:
        """Return the slot that has all traffic; '' if none has."""
        weights = self.site().router.observe().weights
        return next((slot for slot, weight in weights.items() if weight == 100), "")

    def release_in(self, slot: str) -> str:
        """Return the release whose instances are in a slot; '' if there are none."""
        (found,) = {i.release for i in self.site().runtime.observe() if i.slot == slot} or {""}
        return found

    def kill_instances(self, slot: str, number: int) -> int:
        """So many instances of a slot were killed; returns how many there were."""
        processes = Supervisor(self.small.supervisor.socket).processes()
        going = [processes[name].pid for name in sorted(processes) if name.startswith(f"campus-production-{slot}-")]
        for pid in going[:number]:
            _kill(pid)
        return len(going[:number])

    def answers_all(self) -> bool:
        """Return whether the router has somebody for every request, and takes nobody for up who does not answer."""
        members = [m for m in self.site().router.observe().members if m.up and m.admission is Admission.IN]
        return bool(members) and all(listens(int(m.address.rpartition(":")[2])) for m in members)

    def commit(self, *, good: bool) -> str:
        """Commit a version, which the checks of the first stage find good, or not."""
        first = _GOOD if good else _BAD
        return self.small.commit(files={"app.py": _APP}, **_service(first))

    def start(self, name: str, at: str = "", candidate: str = "", **request: str) -> FlowProcess:
        """Start a flow, which stands still before the step `at`."""
        about = {"service": "campus", "requested_by": "ann"} if name != "reconcile" else {}
        self._started += 1
        log = self.small.folder / f"flow-{self._started}.log"
        env = {**self.prefect.env, RUN_SECRET: "a run's secret", TEST_SECRET: "a test's secret"}
        return FlowProcess(name, {**about, "estate": str(self.small.file), **request}, env, log, at, candidate)

    def run(self, name: str, **request: str) -> str:
        """Run a flow to its end, and return what it raised; '' if it succeeded."""
        return self.start(name, **request).end()

    def last(self) -> ReleaseRecord:
        """Return the record of the run that began last."""
        (record,) = self.estate.ledger.records("campus", "production", 1)
        return record

    @contextlib.contextmanager
    def watched(self) -> Iterator[Watched]:
        """Users are there, and the router is watched, for the length of a `with`."""
        watch = _Watch(self)
        watch.begin()
        try:
            yield watch.found
        finally:
            watch.end()


class Lanes:
    """Lanes that are opened when they are needed; one in which something has failed is not used again."""

    def __init__(self, number: int, open_lane: Callable[[], Lane]) -> None:
        self._open = open_lane
        self._idle: queue.Queue[Lane | None] = queue.Queue()
        for _ in range(number):
            self._idle.put(None)
        self._threads = ThreadPoolExecutor(number)

    def submit(self, what: Callable[[Lane], T]) -> Future[T]:
        """It is done as soon as a lane is free."""
        return self._threads.submit(self._do, what)

    def close(self) -> None:
        """Nothing more is begun, and what was begun is over."""
        self._threads.shutdown(cancel_futures=True)

    def _do(self, what: Callable[[Lane], T]) -> T:
        lane, sound = self._idle.get(), None
        try:
            lane = lane or self._open()
            done = what(lane)
            sound = lane
            return done
        finally:
            self._idle.put(sound)


_APP = APP.replace("    def log_message", "    do_POST = do_GET\n\n    def log_message")


def _service(first: str) -> dict[str, Any]:
    """Return what the service file says; the comments of the queries are what a flow tells when it asks them."""

    def metric(query: str, comment: str) -> dict[str, str]:
        return {"query": f"{query} # {comment}", "unit": "percent"}

    def checks(name: str) -> list[dict[str, str]]:
        return [{"metric": name, "at_most": "1%"}]

    stages = [
        {"weight": "60%", "soak": "100ms", "checks": checks("first")},
        {"weight": "100%", "soak": "100ms", "checks": checks("whole")},
    ]
    probes = SERVICE["run"]["probes"]
    # All lanes share two processors; ten probes a second of each instance took more than a quarter of one.
    readiness = {**probes["readiness"], "every": "250ms"}
    return {
        "run": {**SERVICE["run"], "probes": {**probes, "readiness": readiness}},
        "metrics": {
            "first": metric(first, "judge at 60 %"),
            "whole": metric(_GOOD, "judge at 100 %"),
            "after": metric(_GOOD, "validate"),
        },
        "promotion": {"strategy": "canary", "stages": stages},
        "validation": {
            "settle": "0s",
            "limits": checks("after"),
            "stable_for": "100ms",
            "critical_features": [{"path": FEATURE, "expect": 200}],
        },
    }


def _rewrite(small: Small, prometheus: str) -> None:
    """The estate has production alone, two instances a slot, and the shortest lease that can be had."""
    small.write_estate(prometheus)
    production = yaml.safe_load(small.file.read_text())["environments"]["production"]
    ports = {slot: [free_port() for _ in range(REPLICAS)] for slot in ("blue", "green")}
    production["runtime"]["ports"] = {"campus": ports}
    del production["promotes_from"]
    small.write_estate(prometheus, environments={"production": {**production, "replicas": REPLICAS, "lease": "5s"}})


def up(routing: Routing, slot: str) -> int:
    """Return how many members of a slot answer."""
    return sum(m.slot == slot and m.up and m.admission is Admission.IN for m in routing.members)


def _kill(pid: int | None) -> None:
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _gone(pid), what="the end of a killed process")


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith(("Z", "X"))
    except OSError:
        return True
