"""What is watched while a drill is on its way: the steady state, what becomes of the fault, how it is afterwards."""

import time
from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from blocks.drills.recounting import sealed
from blocks.files import replacing
from tasks.common.drill_notes import ROUND
from tasks.common.drills import Phase
from tasks.common.errors import Refused, Retryable
from tasks.common.steps import ONCE
from tasks.drill.judge import WINDOW_S, Seen, broken_since, judge, look, served, silent
from tasks.drill.log import Log
from tasks.drill.measure import Kind, written_since
from tasks.drill.recount import Kept, facts_of
from tasks.drill.report import title_of
from tasks.drill.steps import Drilling
from tasks.drill.timeline import svg, text

_STEADY_WITHIN_S = 60.0
_POLL_S = 0.5
_COUNT_WITHIN_S = 60.0


@task(name="steady state", task_run_name="see that {work.place.experiment.cluster} is in its steady state", **ONCE)
def see_steady_state(work: Drilling) -> None:
    """Every probe before the fault holds, for as long as a recovery has to be sustained.

    Raises:
        Refused: one does not; which ones. Nothing was injected.
    """
    began_s = time.monotonic()
    since_s: float | None = None
    seen: tuple[Seen, ...] = ()
    while time.monotonic() - began_s < _STEADY_WITHIN_S:
        time.sleep(_POLL_S)
        log = work.tail.read()
        if log is None:
            continue
        at_s = time.monotonic()
        seen = look(work.place.experiment, log, Phase.BEFORE, at_s)
        well = all(each.holds for each in seen) and at_s - log.began_s > WINDOW_S
        since_s = (since_s or at_s) if well else None
        if since_s is not None and at_s - since_s >= work.place.experiment.sustained_s:
            work.now.probes += seen
            work.now.mark("steady")
            return
    wrong = [
        f"{each.name} is {'not known' if each.value is None else f'{each.value:g}'}" for each in seen if not each.holds
    ]
    raise Refused(
        "the steady state was not seen: nothing would be proven",
        on=str(work),
        next_action="see what is wrong before anything is broken, or correct the hypothesis",
        facts={"does not hold": "\n".join(wrong) or "the client has said nothing"},
    )


@task(name="watch", task_run_name="watch what becomes of {work}", **ONCE)
def watch(work: Drilling) -> None:
    """It is known what came of the fault, or it was in place for as long as it may be, or a rule has ended it."""
    experiment, began_s = work.place.experiment, work.now.moments["injecting"]
    since: dict[str, float] = {}
    while True:
        time.sleep(_POLL_S)
        work.lease.require()
        log, at_s = work.read(), time.monotonic()
        since = dict(broken_since(log, experiment.abort, since, at_s))
        broken = [rule.name for rule in experiment.abort if at_s - since.get(rule.name, at_s) >= rule.for_s]
        users = log.of(Kind.WRITE) or log.operations
        back = served(users, began_s - WINDOW_S, experiment.sustained_s)
        if broken or back or at_s - began_s >= experiment.longest_s:
            work.now.aborted = broken[0] if broken else ""
            if not broken:
                work.now.probes += look(experiment, log, Phase.DURING, at_s)
            get_run_logger().info("ends: %s", work.now.aborted or ("service is back" if back else "its time is over"))
            return


@task(name="recovered", task_run_name="wait until every node of {work.place.experiment.cluster} is well again", **ONCE)
def see_recovered(work: Drilling) -> None:
    """Every node answers, and every probe after the fault holds; or it is known which one does not."""
    experiment, began_s = work.place.experiment, time.monotonic()
    since_s: float | None = None
    while True:
        time.sleep(_POLL_S)
        log, at_s = work.read(), time.monotonic()
        seen = look(experiment, log, Phase.AFTER, at_s)
        well = all(each.holds for each in seen) and not silent(log.samples)
        since_s = (since_s or at_s) if well else None
        work.now.settled = since_s is not None and at_s - since_s >= experiment.sustained_s
        if work.now.settled or at_s - began_s >= experiment.settle_s:
            work.now.probes += seen
            work.now.mark("settled") if work.now.settled else None
            return


@task(name="measure", task_run_name="count what is there after round {work.now.number}, and judge", **ONCE)
def measure(work: Drilling) -> None:
    """The round is judged, on record, and kept so that anybody can count again.

    Raises:
        Unsafe: the client's log cannot be read.
        Retryable: the ledger does not answer.
    """
    now, place = work.now, work.place
    log = work.read()
    there = count(work, log)
    _list_for_repair(work, log)
    bounds = {"rto": work.objectives.rto_s, "rpo": work.objectives.rpo_s}
    kept = Kept(
        now.number,
        now.moments,
        sorted(there) if there is not None else None,
        now.probes,
        now.aborted,
        now.by_hand,
        bounds,
    )
    _keep(now.log.with_suffix(".json"), kept.text())
    found = judge(
        place.experiment,
        work.objectives,
        log,
        number=now.number,
        moments=now.moments,
        there=there,
        probes=now.probes,
        aborted=now.aborted,
        by_hand=now.by_hand,
    )
    _keep(now.log.with_suffix(".svg"), svg(log, found.moments, title_of(found, place.experiment.drill)))
    work.timeline = text(log, found.moments)
    work.rounds.append(found)
    work.note(ROUND, facts_of(found, sealed(now.log)), now.number)
    verdict = "; ".join(found.problems) or "passed"
    work.say(f"round {now.number}: {found.outcome.value}, RTO {found.rto_s:.2f} s; {verdict}")


def count(work: Drilling, log: Log) -> frozenset[str] | None:
    """Return every id of the client that is there; None where it could not be counted with all nodes back."""
    if not log.of(Kind.WRITE):
        return None
    if not work.now.settled and work.place.experiment.undo.by == "driver":
        get_run_logger().warning("not every node is back: what is lost is not known yet")
        return None
    deadline = time.monotonic() + _COUNT_WITHIN_S
    while True:
        try:
            return work.place.ids(log.run)
        except Retryable as error:
            if time.monotonic() > deadline:
                get_run_logger().warning("what is there could not be counted: %s", work.redact(error.what))
                return None
            time.sleep(_POLL_S)


def _list_for_repair(work: Drilling, log: Log) -> None:
    """Where a person restores, what was acknowledged since is in a file, and they are told of it."""
    if not work.now.by_hand or "aimed" not in work.now.moments:
        return
    found = written_since(log.operations, work.now.moments["aimed"])
    path = work.now.log.with_suffix(".repair")
    _keep(path, "".join(f"{each}\n" for each in found))
    work.now.by_hand.append(f"carry over what was acknowledged since, {len(found)} writes: their ids are in {path}")


def _keep(path: Path, content: str) -> None:
    with replacing(path, 0o600) as file:
        file.write(content.encode())
