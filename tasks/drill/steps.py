"""The @task functions of drills: thin; only they, and the other modules named *_steps here, import Prefect."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from prefect import task
from prefect.exceptions import Pause
from prefect.logging import get_run_logger

from blocks.drills.client import Orders
from blocks.drills.place import DrillPlace
from blocks.drills.tail import Tail
from blocks.estate import OpenEstate
from blocks.lease_keeper import KeptLease, await_lease
from tasks.common.drill_notes import ENDED, DrillNote
from tasks.common.drills import DrillObjectives, Mode
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.lease import Waiting, scope_of
from tasks.common.lease_steps import holder
from tasks.common.steps import ONCE, TRANSIENT
from tasks.drill.announce_steps import announce_end
from tasks.drill.gate import Situation, problems, require
from tasks.drill.journal import Entry
from tasks.drill.judge import Round, Seen
from tasks.drill.log import Log
from tasks.drill.model import Injection, NodeSeen
from tasks.drill.plan import injections, printed, targets
from tasks.drill.request import DrillRequest

_TTL_S = 20.0
_DIED_S = 5.0
"""So much longer than a lease lasts it is waited for: that of a run that has died has expired by then."""


@dataclass
class OneRound:
    """A round on its way.

    Args:
        number: from 1.
        folder: of the run's evidence.
        moments: when what has happened, in seconds of the monotonic clock.
        entries: what was written to the undo journal.
        probes: what they have seen.
        aborted: the rule that has ended it early.
        by_hand: what a person has to do.
        settled: whether all was well again at its end.
    """

    number: int
    folder: Path
    moments: dict[str, float] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    probes: list[Seen] = field(default_factory=list)
    aborted: str = ""
    by_hand: list[str] = field(default_factory=list)
    settled: bool = False

    @property
    def log(self) -> Path:
        """Return the file that the client writes."""
        return self.folder / f"round-{self.number:02}.jsonl"

    def mark(self, what: str) -> None:
        """It has happened now; the first time counts."""
        self.moments.setdefault(what, time.monotonic())


@dataclass(eq=False)
class Drilling:
    """A drill on its way, beside which there is no other one.

    Args:
        place: what it works with.
        request: what was asked for.
        lease: its right to break things.
        now: the round that is on its way.
        rounds: those that were judged.
        timeline: of the last round, as text.
        expires_at: while an answer is waited for.
    """

    place: DrillPlace
    request: DrillRequest
    lease: KeptLease
    now: OneRound
    rounds: list[Round] = field(default_factory=list)
    timeline: str = ""
    expires_at: datetime | None = None
    tail: Tail = field(default_factory=lambda: Tail(Path()))

    def __str__(self) -> str:
        """Return 'node-lost on campus-copy', as task names show it."""
        return f"{self.request.drill} on {self.place.experiment.cluster}"

    @property
    def asks(self) -> bool:
        """Return whether a person is asked before."""
        return self.place.experiment.mode is Mode.LIVE

    @property
    def dry(self) -> bool:
        """Return whether the plan is printed, and nothing else done."""
        return self.request.dry_run or self.place.experiment.mode is Mode.DRY_RUN

    @property
    def objectives(self) -> DrillObjectives:
        """Return what has to be achieved."""
        return self.place.experiment.objectives or self.place.cluster.objectives

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        return self.place.estate.context.secrets.redact(text)

    def say(self, text: str) -> None:
        """It is in the run's log."""
        get_run_logger().info("%s", self.redact(text))

    def note(self, kind: str, facts: Mapping[str, object], number: int = 0) -> None:
        """It is on record. *Idempotent:* yes; the first of a kind and round stands."""
        experiment = self.place.experiment
        about = (holder(), experiment.drill, experiment.cluster, kind)
        self.place.estate.ledger.drills.note(DrillNote(*about, datetime.now(UTC), facts, number))

    def read(self) -> Log:
        """Return what the client has said so far.

        Raises:
            Retryable: nothing yet.
        """
        found = self.tail.read()
        if found is None:
            raise Retryable("the client has said nothing yet", on=str(self), next_action="look again")
        return found


@contextmanager
def drilling(estate: OpenEstate, request: DrillRequest) -> Iterator[Drilling]:
    """No other drill runs in the estate within the block; how it has ended is on record, shown and told.

    Raises:
        Refused: no such drill or cluster, or another one is on its way; which run.
    """
    work: Drilling | None = None
    place: DrillPlace | None = None
    try:
        place = DrillPlace(estate, request.drill)
        estate.ledger.prepare()
        if any(each.kind == ENDED for each in estate.ledger.drills.notes(holder())):
            raise Refused("this run has ended before", on=request.drill, next_action="start another one")
        work = Drilling(place, request, take_lease(estate, request), OneRound(0, place.evidence(holder())))
        yield work
    except Pause:
        if work is not None and work.expires_at is not None:
            work.lease.park((work.expires_at - datetime.now(UTC)).total_seconds() + _TTL_S)
        raise
    except BaseException as error:
        if work is not None:
            work.lease.give_up()
        announce_end(estate, request, place, work, error)
        raise
    work.lease.give_up()
    announce_end(estate, request, place, work, None)


@task(name="lease", task_run_name="see that no other drill is on its way", **ONCE)
def take_lease(estate: OpenEstate, request: DrillRequest) -> KeptLease:
    """No other drill can begin in the estate. That of a run that has died is waited for until it has expired.

    Raises:
        Refused: one is on its way; which run.
    """
    leases, scope, log = estate.ledger.leases, scope_of("drill", estate.file.estate), get_run_logger()

    def look(waiting: Waiting) -> None:
        # That of a run that waits for an answer is good for longer than anybody waits here.
        if waiting.left_s > _TTL_S + _DIED_S:
            raise _taken(waiting.held_by, request)

    try:
        lease = await_lease(leases, scope, holder(), _TTL_S, _TTL_S + _DIED_S, log.info, look)
    except Refused as error:
        found = leases.find(scope)
        raise _taken(found.holder if found is not None else "another run", request) from error
    return KeptLease(leases, lease, _TTL_S, log.warning)


def _taken(by: str, request: DrillRequest) -> Refused:
    return Refused(
        f"the run {by} practises here: no second drill beside it",
        on=request.drill,
        next_action=f"let run {by} end, or cancel it in the Prefect UI; then start this one again",
    )


@contextmanager
def no_release_runs(work: Drilling) -> Iterator[None]:
    """No release can begin, within the block, where the estate says so.

    Raises:
        Refused: one has begun since it was looked.
    """
    leases, log = work.place.estate.ledger.leases, get_run_logger()
    with ExitStack() as stack:
        for each in [] if work.dry else work.place.cluster.releases:
            scope = scope_of(each.service, each.environment)
            lease = await_lease(leases, scope, holder(), _TTL_S, 0.0, log.info)
            stack.callback(KeptLease(leases, lease, _TTL_S, log.warning).give_up)
        yield


@task(
    name="gate", task_run_name="see that {work.place.experiment.cluster} is well and may be practised on", **TRANSIENT
)
def require_gate(work: Drilling) -> None:
    """Everything that a drill needs is there.

    Raises:
        Refused: something stands in the way; all of it is listed.
    """
    place = work.place
    found = problems(place.experiment, place.cluster, place.drills, place.estate.file.windows, observe(work))
    require(found, str(work))


def observe(work: Drilling) -> Situation:
    """Return what is there before a drill. What cannot be looked at is said, and is not taken to be well."""
    place, unknown = work.place, dict[str, str]()
    nodes: list[NodeSeen] = []
    backup_at: datetime | None = None
    at_work: dict[str, str] = {}
    try:
        nodes = list(place.nodes.look()) if place.nodes is not None else []
    except SlipwayError as error:
        unknown["nodes"] = error.what
    try:
        backup_at = _verified_at(place, place.cluster.backup) if place.cluster.backup is not None else None
    except SlipwayError as error:
        unknown["backup"] = error.what
    try:
        for each in place.cluster.releases:
            lease = place.estate.ledger.leases.find(scope_of(each.service, each.environment))
            if lease is not None and lease.live and lease.holder != holder():
                at_work[lease.scope] = lease.holder
    except SlipwayError as error:
        unknown["releases"] = error.what
    left, damaged = place.journal.entries()
    return Situation(datetime.now(UTC), nodes, backup_at, at_work, left, [each.on for each in damaged], unknown)


def _verified_at(place: DrillPlace, plan: str) -> datetime | None:
    entries = place.estate.ledger.catalogue.entries(plan)
    sound = [each for each in entries if each.verified_at is not None and each.unsound_at is None]
    return max((each.stored.ended_at for each in sound), default=None)


@task(name="plan", task_run_name="plan {work}", **ONCE)
def plan(work: Drilling) -> tuple[Injection, ...]:
    """It is known, and in the run's log, what will be done to whom.

    Raises:
        Refused: there is nobody to do it to, it is more than the blast radius, or a fact is missing.
    """
    place = work.place
    nodes = place.nodes.look() if place.nodes is not None else ()
    found = injections(place.experiment, place.cluster, targets(place.experiment, place.cluster, nodes))
    for number, step in enumerate(printed(place.experiment, place.cluster, found, work.request.repeat), start=1):
        work.say(f"{number}. {step}")
    require_undo(place, found)
    return found


def require_undo(place: DrillPlace, found: tuple[Injection, ...]) -> None:
    """Who undoes what is as the experiment says.

    Raises:
        Refused: it says that drivers do, and one cannot.
    """
    stuck = [str(each) for each in found if not place.fault(each).reversible]
    if stuck and place.experiment.undo.by == "driver":
        raise Refused(
            f"no driver undoes {', '.join(stuck)}",
            on=place.experiment.drill,
            next_action="say under 'undo' that a person does, and how",
        )


@contextmanager
def client_sends(work: Drilling, number: int) -> Iterator[None]:
    """The client of the round sends within the block, and its log is whole after it.

    Raises:
        Refused: it has ended by itself.
        Retryable: the database does not take its table.
    """
    place, folder = work.place, work.now.folder
    work.now = OneRound(number, folder)
    work.tail = Tail(work.now.log)
    run = f"{holder()[:8]}-{datetime.now(UTC):%H%M%S}-{number}"
    orders: Orders = place.orders(run, work.now.log, place.experiment.load)
    if orders.writes_per_s + orders.reads_per_s:
        place.prepare(run)
    if work.now.log.exists():
        raise Unsafe(
            "there is a client's log of this round already",
            on=str(work.now.log),
            state="nothing was injected",
            next_action="start another run: a round is never measured twice into one log",
        )
    with place.client(orders):
        yield
