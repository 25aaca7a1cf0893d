"""A flow, or a Prefect server, in a process of its own that can be killed; the flow stands still where it is told to.

The processes are forked from one that has imported Prefect already. In a flow's process the drivers of runtime, router,
metrics and prober are wrapped: each call is told before it is made, and again if it fails.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from prefect import Flow
from prefect.context import refresh_global_settings_context
from prefect.server.api.server import create_app
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from blocks import DRIVERS
from blocks.context import Context
from blocks.metrics.prometheus import PrometheusMetrics
from blocks.prober import HttpProber
from blocks.routers.haproxy import HaproxyRouter
from blocks.runtimes.supervisord import SupervisordRuntime
from flows.reconcile import reconcile
from flows.release import release
from flows.rollback import rollback
from tasks.common.capacity import Capacity
from tasks.common.errors import SlipwayError
from tasks.common.model import HttpCheck
from tasks.common.units import show_percent
from tasks.release.ports import HttpResult
from tasks.release.request import ReconcileRequest, ReleaseRequest, RollbackRequest
from tasks.rollout.model import Health, Instance, Routing, Workload
from tasks.rollout.ports import Endpoint

T = TypeVar("T")

FEATURE = "/feature"
"""Where the critical feature of the service is."""
_FLOWS: Mapping[str, tuple[Flow[..., None], type[Any]]] = {
    "release": (release, ReleaseRequest),
    "rollback": (rollback, RollbackRequest),
    "reconcile": (reconcile, ReconcileRequest),
}


class _Stage:
    """Where this process tells what it is about, and stands still."""

    def open(self, pipe: Connection, at: str, candidate: str) -> None:
        """From now on it is told.

        Args:
            pipe: to the test.
            at: the call before which it stands still, the first time that it comes there; '' for none.
            candidate: the slot that the release goes into.
        """
        self.candidate = candidate
        self._pipe = pipe
        self._at = at

    def side(self, slot: str) -> str:
        """Return whose the slot is."""
        return "candidate" if slot == self.candidate else "stable"

    def make(self, step: str, call: Callable[[], T]) -> T:
        """The step is told, and taken when the test lets it be."""
        self._pipe.send(("reached", step))
        if step == self._at:
            self._at = ""
            self._pipe.recv()
        return self.look(step, call)

    def look(self, step: str, call: Callable[[], T]) -> T:
        """What is asked is told only if it fails."""
        try:
            return call()
        except SlipwayError as error:
            self._pipe.send(("failed", f"{step}: {error.what}"))
            raise


_stage = _Stage()


class TellingRuntime:
    """Implements `Runtime` with a supervisord; tells of each change.

    What was started is not ready until somebody has waited for it, as with nearly every service. This one is now and
    then, before it is looked at again; then a run would not come to the step of waiting.
    """

    Settings = SupervisordRuntime.Settings

    def __init__(self, settings: SupervisordRuntime.Settings, context: Context) -> None:
        self._real = SupervisordRuntime(settings, context)
        self._started: set[tuple[str, int]] = set()

    def observe(self) -> tuple[Instance, ...]:
        return tuple(
            replace(each, health=Health.STARTING)
            if (each.slot, each.index) in self._started and each.health is Health.READY
            else each
            for each in _stage.look("observe", self._real.observe)
        )

    def claim(self) -> None:
        self._real.claim()

    def place(self, workload: Workload, archive: Path) -> None:
        _stage.make("place", lambda: self._real.place(workload, archive))

    def start(self, slot: str, indexes: Sequence[int], workload: Workload) -> None:
        _stage.make(f"start {_stage.side(slot)}", lambda: self._real.start(slot, indexes, workload))
        self._started |= {(slot, index) for index in indexes}

    def await_ready(self, slot: str, indexes: Sequence[int], probes_within_s: float) -> None:
        _stage.make(f"await {_stage.side(slot)}", lambda: self._real.await_ready(slot, indexes, probes_within_s))
        self._started -= {(slot, index) for index in indexes}

    def stop(self, slot: str, indexes: Sequence[int], grace_s: float) -> None:
        _stage.make(f"stop {_stage.side(slot)}", lambda: self._real.stop(slot, indexes, grace_s))

    def forget(self, keep: Sequence[str]) -> tuple[str, ...]:
        return self._real.forget(keep)

    def capacity(self) -> Capacity:
        return self._real.capacity()


class TellingRouter:
    """Implements `Router` with an HAProxy; tells of each change."""

    Settings = HaproxyRouter.Settings

    def __init__(self, settings: HaproxyRouter.Settings, context: Context) -> None:
        self._real = HaproxyRouter(settings, context)

    def observe(self) -> Routing:
        return _stage.look("observe", self._real.observe)

    def claim(self) -> None:
        self._real.claim()

    def admit(self, endpoints: Sequence[Endpoint]) -> None:
        _stage.make(f"admit {_stage.side(endpoints[0].slot)}", lambda: self._real.admit(endpoints))

    def shift(self, weights: dict[str, float]) -> None:
        share = show_percent(weights.get(_stage.candidate, 0.0))
        _stage.make(f"shift candidate to {share}", lambda: self._real.shift(weights))

    def drain(self, slot: str, indexes: Sequence[int], timeout_s: float) -> int:
        return _stage.make(f"drain {_stage.side(slot)}", lambda: self._real.drain(slot, indexes, timeout_s))


class TellingMetrics:
    """Implements `MetricSource` with a Prometheus; a query's comment is what it tells."""

    Settings = PrometheusMetrics.Settings

    def __init__(self, settings: PrometheusMetrics.Settings, context: Context) -> None:
        self._real = PrometheusMetrics(settings, context)

    def query(self, expression: str) -> float | None:
        return _stage.make(expression.partition("# ")[2], lambda: self._real.query(expression))

    def check(self) -> None:
        self._real.check()


class TellingProber:
    """Implements `Prober`; tells of the checks of critical features, the last step of every run."""

    Settings = HttpProber.Settings

    def __init__(self, settings: HttpProber.Settings, context: Context) -> None:
        self._real = HttpProber(settings, context)

    def probe(self, base_url: str, checks: Sequence[HttpCheck]) -> tuple[HttpResult, ...]:
        if checks[0].path != FEATURE:
            return self._real.probe(base_url, checks)
        return _stage.make("prove features", lambda: self._real.probe(base_url, checks))


def run_flow(
    name: str, request: Mapping[str, str], env: Mapping[str, str], log: Path, pipe: Connection, at: str, candidate: str
) -> None:
    """The flow has run to its end; what it ended with was told. To be called in a process of its own."""
    _begin(env, log)
    _stage.open(pipe, at, candidate)
    DRIVERS["runtime"]["supervisord"] = f"{__name__}:TellingRuntime"
    DRIVERS["router"]["haproxy"] = f"{__name__}:TellingRouter"
    DRIVERS["metrics"]["prometheus"] = f"{__name__}:TellingMetrics"
    DRIVERS["prober"]["http"] = f"{__name__}:TellingProber"
    flow, model = _FLOWS[name]
    # The end of a flow waits a second for the thread that sends heartbeats.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        error = ""
        try:
            flow(model.model_validate(request))
        except BaseException as problem:
            error = f"{type(problem).__name__}: {problem}"
    pipe.send(("ended", error))


def serve_prefect(port: int, env: Mapping[str, str], log: Path) -> None:
    """A Prefect server runs until it is killed. To be called in a process of its own."""
    _begin(env, log)
    uvicorn.run(create_app(final=True, webserver_only=True), host="127.0.0.1", port=port, log_level="warning")


def _begin(env: Mapping[str, str], log: Path) -> None:
    os.environ.update(env)
    refresh_global_settings_context()
    with log.open("ab") as out:
        os.dup2(out.fileno(), sys.stdout.fileno())
        os.dup2(out.fileno(), sys.stderr.fileno())
