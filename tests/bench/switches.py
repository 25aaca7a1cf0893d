"""Figure 1: what users notice of blue-green switches and rollbacks.

The flow runs in this process, and its tasks through the Prefect server: `roll_out` and `advance` are those that release
and rollback use. One flow run a switch, in a process of its own, would be the same work with a start-up of some seconds
in front of each, in which nothing is switched.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby

from prefect import flow

from flows.rollout import AT_ONCE, open_rollout, roll_out
from tasks.release.lease_steps import take_leases
from tasks.release.open_steps import open_rollback, recorded
from tasks.release.request import RollbackRequest
from tasks.rollout.steps import advance
from tasks.rollout.strategies import stable_stage
from tests.bench.arithmetic import Spread
from tests.bench.place import Place
from tests.bench.report import Grid, Section
from tests.bench.traffic import Line, Load

CLAIM = (
    "Zero failed requests (connection error, 5xx, timeout, truncated body), keep-alive and slow (2 s) requests "
    "included, over 100 blue-green switches and 100 rollbacks at 200 requests/s, open loop."
)
_LISTED_AT_MOST = 40
# Long enough that some of the requests that take two seconds are open on the side that is about to be drained.
_HELD_S = 1.0


@dataclass(frozen=True)
class Move:
    """One switch or rollback. started_at is aware."""

    what: str
    number: int
    started_at: datetime
    took_s: float


@flow(name="switch back and forth")
def switch_back_and_forth(request: RollbackRequest, count: int, said: Callable[[Move], None]) -> list[Move]:
    """The kept release has taken all traffic and given it back so many times; returns each move."""
    job = open_rollback(request)
    moves: list[Move] = []

    def timed(what: str, act: Callable[[], None]) -> None:
        started_at, began = datetime.now(UTC), time.monotonic()
        act()
        moves.append(Move(what, len(moves) // 2 + 1, started_at, time.monotonic() - began))
        said(moves[-1])

    with recorded(job):
        take_leases(job)
        for _ in range(count):
            rollout = open_rollout(job, job.environment, AT_ONCE)
            replicas = rollout.site.environment.replicas
            timed("switch", partial(roll_out, job, rollout))
            time.sleep(_HELD_S)
            timed("rollback", partial(advance, rollout, stable_stage(replicas)))
    return moves


def measure(place: Place, count: int) -> Section:
    """Return what users got during `count` switches from v1 to v2 and as many rollbacks."""
    place.have("v2", "v1")
    place.start_load()
    request = RollbackRequest(
        service="campus",
        environment="production",
        estate=str(place.lab.estate_file),
        requested_by="make bench",
        to=place.release_name("v2"),
        reason="measured",
    )

    def said(move: Move) -> None:
        if move.what == "rollback" and move.number % 10 == 0:
            place.say(f"{move.number} of {count} switches and rollbacks")

    moves = switch_back_and_forth(request, count, said)
    return _section(place.end_load(), moves)


def _section(load: Load, moves: list[Move]) -> Section:
    by_what = {
        what: Spread.of(move.took_s for move in those)
        for what, those in groupby(sorted(moves, key=lambda move: move.what), key=lambda move: move.what)
    }
    served = ", ".join(f"{release[:7]} {count}" for release, count in load.by_release().items())
    facts = [
        f"{load.failed} of {load.sent} requests failed; with 95 % confidence at most "
        f"{100 * load.failed_at_most:.4f} % do (Clopper-Pearson, one-sided).",
        f"Each switch is held for {_HELD_S:g} s. Answers by release: {served}.",
        f"At worst the load generator sent a request {load.late_s:.2f} s after its "
        "moment: more than a second says that this machine was too busy for the rate.",
    ]
    return Section(
        name="switches",
        title="Switches and rollbacks under load",
        claim=CLAIM,
        met=load.failed == 0,
        facts=tuple(facts),
        grids=_grids(load, moves, by_what),
        data={
            "switches": len(moves) // 2,
            "requests": load.sent,
            "failed": load.failed,
            "failed_at_most_percent": 100 * load.failed_at_most,
            "failures": [asdict(line) for line in load.failures],
            "generator_late_s": load.late_s,
            "by_kind": load.by_kind(),
            "moves_s": {what: asdict(spread) for what, spread in by_what.items()},
        },
    )


def _grids(load: Load, moves: list[Move], by_what: dict[str, Spread]) -> tuple[Grid, ...]:
    grids = [
        Grid("Requests", ("kind", "requests", "failed"), tuple((k, *map(str, n)) for k, n in load.by_kind().items())),
        Grid(
            "Time a move takes",
            ("move", "number", "median", "fastest", "slowest"),
            tuple(
                (what, str(s.count), f"{s.median:.2f} s", f"{s.least:.2f} s", f"{s.most:.2f} s")
                for what, s in by_what.items()
            ),
        ),
    ]
    if load.failures:
        rows = tuple(_row(line, moves) for line in load.failures[:_LISTED_AT_MOST])
        grids.append(Grid(f"Failures (the first {len(rows)})", ("sent", "kind", "failure", "release", "during"), rows))
    return tuple(grids)


def _row(line: Line, moves: list[Move]) -> tuple[str, ...]:
    """Return a failure with the move that was going on when it was sent."""
    before = [move for move in moves if move.started_at <= line.sent_at]
    during = "before the first"
    if before:
        during = f"{before[-1].what} {before[-1].number}, {_into(line, before[-1]):.2f} s into it"
    failure = f"{line.error} {line.status or ''}".strip()
    return f"{line.sent_at:%H:%M:%S.%f}"[:-3], line.kind, failure, line.release[:7] or "none", during


def _into(line: Line, move: Move) -> float:
    return (line.sent_at - move.started_at).total_seconds()
