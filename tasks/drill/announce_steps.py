"""The one place where something of a drill is announced: to people, to automations, and on record."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.drills.place import DrillPlace
from blocks.estate import OpenEstate
from tasks.common.drill_notes import ENDED, DrillNote
from tasks.common.errors import SlipwayError, Unsafe
from tasks.common.event_steps import emit
from tasks.common.events import Happened
from tasks.common.lease_steps import holder
from tasks.common.run_steps import page_of
from tasks.common.steps import only_shown
from tasks.drill.report import headline, report
from tasks.drill.request import DrillRequest
from tasks.notify.drill_messages import about_drill, drill_asks, drill_failed, drill_passed
from tasks.notify.messages import error_rows
from tasks.notify.steps import tell

if TYPE_CHECKING:
    from tasks.drill.steps import Drilling

_TREND = 10


def announce_question(work: "Drilling", expires_at: datetime) -> None:
    """Automations and people know that the run waits for an answer, until when, and how to answer."""
    estate, run = work.place.estate, holder()
    _emit(estate, "slipway.drill.approval-wanted", work.request, "")
    by = work.redact(work.request.requested_by) or "unknown"
    about = about_drill(estate.file.estate, work.request.drill)
    users, now = work.place.experiment.blast_radius.users, datetime.now(UTC)
    message = drill_asks(about, users, now, expires_at, by=by, run=run, link=page_of(run))
    tell(estate.notifiers, message, None)


def announce_end(
    estate: OpenEstate,
    request: DrillRequest,
    place: DrillPlace | None,
    work: "Drilling | None",
    error: BaseException | None,
) -> None:
    """How the run has ended is on record, shown in the Prefect UI, and known to automations and people."""
    redact, run, now = estate.context.secrets.redact, holder(), datetime.now(UTC)
    # The text of what is not ours may hold anything.
    text = str(error) if isinstance(error, SlipwayError) else f"unexpected {type(error).__name__}"
    problem = redact(text) if error is not None else ""
    said = headline(place.experiment, work.rounds) if place is not None and work is not None else ""
    if place is not None and work is not None and not work.dry:
        _show(place, work, problem)
        _record(place, work, problem)
    if work is not None and work.dry and error is None:
        return
    _emit(estate, "slipway.drill.failed" if problem else "slipway.drill.passed", request, problem)
    about, link = about_drill(estate.file.estate, request.drill), page_of(run)
    if problem:
        unsafe = isinstance(error, Unsafe)
        tell(estate.notifiers, drill_failed(about, now, problem, unsafe=unsafe, run=run, link=link), None)
    else:
        tell(estate.notifiers, drill_passed(about, now, said=redact(said), run=run, link=link), None)


def _emit(estate: OpenEstate, name: str, request: DrillRequest, error: str) -> None:
    ends = name != "slipway.drill.approval-wanted"
    about = {"drill": request.drill, "run": holder(), "error": error}
    emit(Happened(name, estate.file.estate, **about, ends_run=ends), estate.context.secrets.redact)


def _show(place: DrillPlace, work: "Drilling", problem: str) -> None:
    before = []
    try:
        for each in place.estate.ledger.drills.ended(place.experiment.drill, _TREND):
            rto_s = each.facts.get("rto_s")
            if isinstance(rto_s, int | float):
                before.append((f"{each.at:%Y-%m-%d %H:%M}", float(rto_s), not each.facts.get("error")))
    except SlipwayError as error:
        get_run_logger().warning("earlier drills are not shown: %s", error.what)
    said, _ = error_rows(problem)
    made = report(
        place.experiment,
        work.objectives,
        work.rounds,
        timeline=work.timeline,
        before=before,
        evidence=str(work.now.folder),
        problem=said,
        redact=work.redact,
    )
    with only_shown():
        description = work.redact(headline(place.experiment, work.rounds))
        create_markdown_artifact(key=f"drill-{place.experiment.drill}", markdown=made, description=description)


def _record(place: DrillPlace, work: "Drilling", problem: str) -> None:
    rto = [each.rto_s for each in work.rounds]
    facts = {
        "error": problem,
        "rounds": len(work.rounds),
        "passed": sum(each.passed for each in work.rounds),
        "rto_s": sum(rto) / len(rto) if rto else None,
        "longest_rto_s": max(rto, default=None),
        "lost": sum(len(each.loss.lost) for each in work.rounds if each.loss is not None),
        "mode": place.experiment.mode.value,
        "evidence": str(work.now.folder),
        "by": work.redact(work.request.requested_by),
    }
    about = (holder(), place.experiment.drill, place.experiment.cluster, ENDED)
    try:
        place.estate.ledger.drills.note(DrillNote(*about, datetime.now(UTC), facts))
    except SlipwayError as error:
        get_run_logger().warning("how it has ended is not on record: %s", error.what)
