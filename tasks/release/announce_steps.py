"""The one place where something is announced: to people by the estate's channels, to automations as an event.

Nothing else of this capability tells people or sends events, so that nobody is told of an end that automations do not
see, or the other way round. Apart from `steps` only because of its size; the same layer.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from prefect.runtime import flow_run

from blocks.estate import OpenEstate
from blocks.journal import Journal
from tasks.common.errors import SlipwayError
from tasks.common.event_steps import emit
from tasks.common.events import Happened
from tasks.common.model import Drift, Target
from tasks.common.run_steps import page_of
from tasks.notify.messages import approval_wanted, drift, ended, reconciled, unsettled
from tasks.notify.steps import tell
from tasks.release.happened import end_of, question_of
from tasks.release.model import Outcome, ReleaseRecord


def announce_end(estate: OpenEstate, record: ReleaseRecord, journal: Journal) -> None:
    """Automations and people know how a run has ended; people have nothing to be told where another run goes on."""
    announce_to_automations(estate, record)
    if record.outcome is not Outcome.INTERRUPTED:
        at = record.ended_at or datetime.now(UTC)
        tell(estate.notifiers, ended(record, estate.file.estate, at, page_of(record.id)), journal)


def announce_to_automations(estate: OpenEstate, record: ReleaseRecord) -> None:
    """Automations know how a run has ended. *Idempotent:* yes."""
    _emit(estate, end_of(record, estate.file.estate))


def announce_question(
    estate: OpenEstate, record: ReleaseRecord, journal: Journal, before: str, expires_at: datetime
) -> None:
    """Automations and people know that the run waits for an answer, until when, and how to answer."""
    _emit(estate, question_of(record, estate.file.estate))
    now, link = datetime.now(UTC), page_of(record.id)
    message = approval_wanted(record, estate.file.estate, now, expires_at, before=before, link=link)
    tell(estate.notifiers, message, journal)


def announce_reconciled(estate: OpenEstate, record: ReleaseRecord, why: str, done: str) -> str:
    """People know what was done about a dead run; returns it as one line."""
    next_action = "nothing; read the record of the new run, or release again if it is still wanted"
    where = Target(record.service, record.environment, estate.file.estate)
    message = reconciled(where, datetime.now(UTC), found=why, done=done, next_action=next_action)
    tell(estate.notifiers, message, None)
    return f"{why}; {done}"


def announce_findings(estate: OpenEstate, differences: Sequence[Drift], problems: Sequence[SlipwayError]) -> None:
    """Automations and people know what is not as it was left, place by place, and what could not be reconciled."""
    now, link = datetime.now(UTC), flow_run.get_flow_run_ui_url() or ""
    for where in dict.fromkeys(item.where for item in differences):
        lines = [f"{d.found}; expected: {d.expected}. {d.next_action}" for d in differences if d.where == where]
        _emit(
            estate,
            Happened("slipway.reconcile.drift", where.estate, where.service, where.environment, error=lines[0]),
        )
        tell(estate.notifiers, drift(where, now, lines, link), None)
    if problems:
        lines = [f"{problem.on}: {problem.what}" for problem in problems]
        _emit(estate, Happened("slipway.reconcile.unsettled", estate.file.estate, error=lines[0]))
        tell(estate.notifiers, unsettled(estate.file.estate, now, lines, link), None)


def _emit(estate: OpenEstate, happened: Happened) -> None:
    emit(happened, estate.context.secrets.redact)
