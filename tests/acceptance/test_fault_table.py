"""Every step of a rollout, and something is killed just before it: what users get, and what running it again comes to.

The rows are played in several lanes side by side, in the background, and each test waits for its own row: most of a
row's time is waiting for a lease to expire.
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tasks.release.model import Outcome, ReleaseRecord
from tasks.rollout.model import Admission, Member, Routing
from tests.support.fault_lane import REPLICAS, FlowProcess, Lane, Lanes, PrefectServer, Visit, Watched, up
from tests.support.postgresql import Cluster
from tests.support.processes import wait_until
from tests.support.prometheus import prometheus
from tests.support.small import small_estate

pytestmark = [pytest.mark.server, pytest.mark.slow]

_LANES = 3
_PREFECT_LANES = 2
"""Each of these has a Prefect server of its own, which is killed. Their rows take longest."""


class Way(StrEnum):
    """What is under way when something is killed, and what ends it."""

    RELEASE = "release"
    ROLLBACK = "rollback"
    TURNING_BACK = "turning back a bad release"
    RECONCILED = "turning back a bad release, reconciled"


class Fault(StrEnum):
    """What is killed."""

    WORKER = "worker killed"
    PREFECT = "Prefect server killed"
    HAPROXY = "HAProxy killed"
    ONE = "one instance killed"
    """Of stable, as long as there is one."""
    CANDIDATES = "all candidates killed"


_START = ("place", "start candidate", "await candidate", "admit candidate")
JUDGED_BAD = "judge at 60 %"
"""The step that a bad release is turned back after."""
PROVEN = "prove features"
_BACK = ("shift candidate to 0 %", "drain candidate", "stop candidate")
STEPS: Mapping[Way, tuple[str, ...]] = {
    Way.RELEASE: (
        *_START,
        "shift candidate to 60 %",
        JUDGED_BAD,
        "shift candidate to 100 %",
        "judge at 100 %",
        "drain stable",
        "stop stable",
        "validate",
        PROVEN,
    ),
    Way.ROLLBACK: (*_START, "shift candidate to 100 %", PROVEN),
    Way.TURNING_BACK: _BACK,
    Way.RECONCILED: _BACK,
}
"""The steps before which something is killed, as the flows take them."""
_WITHOUT_CANDIDATES = ("place", "start candidate")


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    way: Way
    step: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.way}: {self.fault} before {self.step}"


def _rows() -> Iterator[Row]:
    for way, steps in STEPS.items():
        for step in steps:
            for fault in Fault:
                nobody = fault is Fault.CANDIDATES and step in _WITHOUT_CANDIDATES
                # Only a run that has died is left to be reconciled.
                if not nobody and (way is not Way.RECONCILED or fault is Fault.WORKER):
                    yield Row(way, step, fault)


@dataclass(frozen=True)
class Aim:
    """What is asked for, of which flow; which slot serves before it, and which after it."""

    flow: str
    request: Mapping[str, str]
    stable: str
    candidate: str


@dataclass(frozen=True)
class Played:
    """How a row went; `killed` is when the fault began and when it was over, None where it can cost no request."""

    aim: Aim
    killed: tuple[float, float] | None
    first: Outcome
    watched: Watched
    took_s: float

    @property
    def failed(self) -> list[Visit]:
        """Return the requests that failed."""
        return [visit for visit in self.watched.visits if visit.error]

    @property
    def failed_without_cause(self) -> list[Visit]:
        """Return those of them that were not under way while something was being killed."""
        began, over = self.killed or (float("inf"), float("-inf"))
        return [visit for visit in self.failed if visit.sent_at > over or visit.ended_at < began]


def play(lane: Lane, row: Row) -> Played:
    """Play a row to its end, where everything must be well again."""
    began = time.monotonic()
    aim = prepare(lane, row.way)
    with lane.watched() as watched:
        flow = lane.start(aim.flow, row.step, aim.candidate, **aim.request)
        try:
            flow.await_stand()
            killed = _KILL[row.fault](lane, flow, aim)
            first = lane.last()
            if row.fault is not Fault.WORKER:
                flow.end()
                first = lane.last()
                require_true(lane, aim, first, row)
            finish(lane, row.way, aim)
        finally:
            flow.kill()
    outcome = lane.estate.ledger.record(first.id).outcome
    assert outcome is not Outcome.RUNNING, "the first run was left open"
    return Played(aim, killed, outcome, watched, time.monotonic() - began)


def prepare(lane: Lane, way: Way) -> Aim:
    """One release serves, nothing else runs, and what is asked for is there to be had."""
    while not lane.serving() or lane.release_in(_other(lane.serving())):
        assert lane.run("release", commit=lane.commit(good=True)) == ""
    if way is Way.ROLLBACK and len(lane.estate.ledger.succeeded("campus", "production", 2)) < 2:
        assert lane.run("release", commit=lane.commit(good=True)) == ""
    stable = lane.serving()
    if way is Way.ROLLBACK:
        present = lane.release_in(stable)
        kept = lane.estate.ledger.succeeded("campus", "production", 10)
        former = next(record.release for record in kept if record.release != present)
        return Aim("rollback", {"to": former}, stable, _other(stable))
    return Aim("release", {"commit": lane.commit(good=way is Way.RELEASE)}, stable, _other(stable))


def require_true(lane: Lane, aim: Aim, first: ReleaseRecord, row: Row) -> None:
    """The ledger says of the first run what is true: it has reached its goal, or stable serves alone.

    What a rollback has moved stays; where its features cannot be proven then, that is on record as unsafe.
    """
    reached = [Outcome.SUCCEEDED]
    if row.way is Way.ROLLBACK and row.step == PROVEN:
        reached.append(Outcome.UNSAFE)
    assert first.outcome in (*reached, Outcome.ROLLED_BACK, Outcome.FAILED), first.error
    slot = aim.candidate if first.outcome in reached else aim.stable
    assert lane.serving() == slot
    assert (lane.release_in(slot) == first.release) == (first.outcome in reached)


def finish(lane: Lane, way: Way, aim: Aim) -> None:
    """The same is run again; a bad release is reconciled, or another one is released."""
    if way is Way.RECONCILED:
        scope = "campus/production"
        wait_until(lambda: not _live(lane, scope), what="the end of the dead run's lease")
        assert lane.run("reconcile") == ""
        assert lane.last().outcome is Outcome.ROLLED_BACK
        require_alone(lane, aim.stable)
        assert not lane.release_in(aim.candidate)
        return
    request = {"commit": lane.commit(good=True)} if way is Way.TURNING_BACK else aim.request
    assert lane.run(aim.flow, **request) == ""
    record = lane.last()
    assert record.outcome is Outcome.SUCCEEDED
    assert record.release == lane.release_in(aim.candidate)
    require_alone(lane, aim.candidate)


def _live(lane: Lane, scope: str) -> bool:
    lease = lane.estate.ledger.leases.find(scope)
    return lease is not None and lease.live


def require_alone(lane: Lane, slot: str) -> None:
    """The slot serves alone, with all that it should have."""
    assert lane.serving() == slot
    wait_until(lambda: up(lane.site().router.observe(), slot) == REPLICAS, what=f"{REPLICAS} that answer in {slot}")
    assert lane.small.served() == {lane.release_in(slot)}


def _other(slot: str) -> str:
    return "green" if slot == "blue" else "blue"


# The faults. Each lets the flow go on, and returns when users could notice.

Killed = tuple[float, float] | None


def kill_worker(lane: Lane, flow: FlowProcess, aim: Aim) -> Killed:
    flow.kill()
    return None


def kill_prefect(lane: Lane, flow: FlowProcess, aim: Aim) -> Killed:
    lane.prefect.kill()
    flow.go_on()
    wait_until(
        lambda: lane.last().outcome is not Outcome.RUNNING or not flow.alive,
        within_s=180,
        what="the end of the run, without the server,",
    )
    lane.prefect.start()
    return None


def kill_haproxy(lane: Lane, flow: FlowProcess, aim: Aim) -> Killed:
    began = time.monotonic()
    lane.haproxy.kill()
    flow.go_on()
    flow.await_failure()
    lane.haproxy.start()
    return began, time.monotonic()


def kill_one(lane: Lane, flow: FlowProcess, aim: Aim) -> Killed:
    began = time.monotonic()
    slot = aim.stable if lane.release_in(aim.stable) else aim.candidate
    assert lane.kill_instances(slot, 1) == 1
    over = time.monotonic()
    flow.go_on()
    return began, over


def kill_candidates(lane: Lane, flow: FlowProcess, aim: Aim) -> Killed:
    began = time.monotonic()
    assert lane.kill_instances(aim.candidate, REPLICAS) == REPLICAS
    flow.go_on()
    # Until the router has found out it gives them requests, and there is nobody in their slot to send those to instead.
    wait_until(lane.answers_all, what="the router to find out, or supervisord to start them again")
    return began, time.monotonic()


_KILL: Mapping[Fault, Callable[[Lane, FlowProcess, Aim], Killed]] = {
    Fault.WORKER: kill_worker,
    Fault.PREFECT: kill_prefect,
    Fault.HAPROXY: kill_haproxy,
    Fault.ONE: kill_one,
    Fault.CANDIDATES: kill_candidates,
}


@dataclass(frozen=True)
class Table:
    """What was asked for, as far as it is there by now: rows, and the steps of flows that nothing happens to."""

    rows: dict[Row, Future[Played]] = field(default_factory=dict)
    steps: dict[Way, Future[list[str]]] = field(default_factory=dict)

    def write(self, file: Path) -> None:
        """The file has a line for each row that was played to its end."""
        ended = {row: future for row, future in self.rows.items() if future.done() and not future.cancelled()}
        file.write_text("".join(f"{row}: {_line(future)}\n" for row, future in ended.items()))


def _line(future: Future[Played]) -> str:
    if future.exception() is not None:
        return "not as it must be"
    played = future.result()
    return (
        f"{len(played.watched.visits)} requests, {len(played.failed)} failed, "
        f"{len(played.failed_without_cause)} without cause; first run {played.first}; {played.took_s:.1f} s"
    )


@pytest.fixture(scope="module")
def table(
    request: pytest.FixtureRequest, postgresql_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Table]:
    """What was asked for, being played."""
    opening = threading.Lock()
    with contextlib.ExitStack() as stack:
        metrics = stack.enter_context(prometheus(tmp_path_factory.mktemp("prometheus")))
        database = postgresql_cluster.database()

        def lanes(number: int) -> Lanes:
            server = PrefectServer(tmp_path_factory.mktemp("prefect"), database)
            server.start()
            stack.callback(server.kill)

            def open_lane() -> Lane:
                # One at a time: PostgreSQL refuses to make two databases at once.
                with opening:
                    folder = tmp_path_factory.mktemp("lane")
                    small = stack.enter_context(small_estate(folder, postgresql_cluster.database(), metrics))
                    return Lane(small, server, metrics)

            return Lanes(number, open_lane)

        others, without_prefect = lanes(_LANES), itertools.cycle(killed := [lanes(1) for _ in range(_PREFECT_LANES)])
        found = Table()
        for item in request.session.items:
            mine = isinstance(item, pytest.Function) and item.module is request.module
            asked: dict[str, Any] = item.callspec.params if mine and hasattr(item, "callspec") else {}
            if "row" in asked:
                row = asked["row"]
                into = next(without_prefect) if row.fault is Fault.PREFECT else others
                found.rows[row] = into.submit(partial(play, row=row))
            if "way" in asked:
                found.steps[asked["way"]] = others.submit(partial(steps_of, way=asked["way"]))
        try:
            yield found
        finally:
            # Before the estates are taken down that they work in.
            for each in (others, *killed):
                each.close()
            found.write(tmp_path_factory.getbasetemp() / "fault-table.txt")


def least_serving(watched: Watched, slot: str) -> int:
    """Return how many instances of a slot have served at least, for as long as it had traffic."""
    return min(up(routing, slot) for routing in watched.routings if routing.weights.get(slot, 0) > 0)


@pytest.mark.parametrize("row", _rows(), ids=str)
def test_fault(row: Row, table: Table) -> None:
    played = table.rows[row].result()
    assert played.failed_without_cause == [], f"the fault: {played.killed}"
    assert least_serving(played.watched, played.aim.stable) >= REPLICAS - (row.fault is Fault.ONE)


@pytest.mark.parametrize("way", [Way.RELEASE, Way.ROLLBACK, Way.TURNING_BACK], ids=str)
def test_table_has_every_step_that_a_flow_takes(way: Way, table: Table) -> None:
    assert tuple(table.steps[way].result()) == STEPS[way]


def steps_of(lane: Lane, way: Way) -> list[str]:
    """Return the steps of a flow that nothing happens to, each once; of a bad release those that take it back."""
    aim = prepare(lane, way)
    flow = lane.start(aim.flow, "", aim.candidate, **aim.request)
    assert (flow.end() == "") == (way is not Way.TURNING_BACK)
    found = list(dict.fromkeys(flow.steps))
    return found[found.index(JUDGED_BAD) + 1 :] if way is Way.TURNING_BACK else found


# What the table looks at is shown to find what it looks for.


def _visit(sent_at: float, ended_at: float, error: str) -> Visit:
    return Visit(sent_at, ended_at, "" if error else "v1", error)


@pytest.mark.parametrize(("sent_at", "ended_at", "found"), [(1, 2, True), (1, 4, False), (4, 6, False), (6, 7, True)])
def test_request_that_fails_before_or_after_the_fault_is_found(sent_at: float, ended_at: float, found: bool) -> None:
    watched = Watched([_visit(sent_at, ended_at, "GET: 503"), _visit(0, 9, "")])
    during = Played(Aim("release", {}, "blue", "green"), (3.0, 5.0), Outcome.SUCCEEDED, watched, 1.0)
    assert bool(during.failed_without_cause) is found
    assert len(replace(during, killed=None).failed_without_cause) == 1, "a fault that can cost no request excuses none"


def test_stable_instance_that_was_missing_for_a_moment_is_found() -> None:
    def routing(weight: float, *ups: bool) -> Routing:
        members = tuple(Member("blue", n, f"h:{n}", Admission.IN, each, 0) for n, each in enumerate(ups))
        return Routing({"blue": weight, "green": 100 - weight}, members)

    watched = Watched(routings=[routing(100, True, True), routing(40, True, False), routing(0)])
    assert least_serving(watched, "blue") == 1
