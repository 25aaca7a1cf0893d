"""The one place where something of a restore is announced: to people, to automations, and on record."""

from datetime import UTC, datetime

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from tasks.common.errors import SlipwayError, Unsafe
from tasks.common.event_steps import emit
from tasks.common.events import Happened
from tasks.common.lease_steps import holder
from tasks.common.restores import ENDED, RestoreNote
from tasks.common.run_steps import page_of
from tasks.common.steps import only_shown
from tasks.notify.messages import error_rows
from tasks.notify.restore_messages import about_restore, restore_asks, restore_failed, restore_finished
from tasks.notify.steps import tell
from tasks.restore.report import Account, came_back_to, report
from tasks.restore.request import RestoreRequest


def announce_question(estate: OpenEstate, request: RestoreRequest, account: Account, expires_at: datetime) -> None:
    """Automations and people know that the run waits for an answer, until when, and how to answer."""
    run, redact = holder(), estate.context.secrets.redact
    _emit(estate, "slipway.restore.approval-wanted", request, account, "")
    about = about_restore(estate.file.estate, request.plan, request.to)
    by, now = redact(request.requested_by) or "unknown", datetime.now(UTC)
    tell(estate.notifiers, restore_asks(about, account.wish, now, expires_at, by=by, run=run, link=page_of(run)), None)


def announce_end(estate: OpenEstate, request: RestoreRequest, account: Account, error: BaseException | None) -> None:
    """How the run has ended is on record, shown in the Prefect UI, and known to automations and people."""
    redact, run, now = estate.context.secrets.redact, holder(), datetime.now(UTC)
    # The text of what is not ours may hold anything.
    text = str(error) if isinstance(error, SlipwayError) else f"unexpected {type(error).__name__}"
    problem = redact(text) if error is not None else ""
    _record(estate, request, account, problem)
    _emit(estate, "slipway.restore.failed" if problem else "slipway.restore.finished", request, account, problem)
    _show(estate, request, account, problem)
    about, wish, link = about_restore(estate.file.estate, request.plan, request.to), redact(account.wish), page_of(run)
    if problem:
        unsafe = isinstance(error, Unsafe)
        tell(estate.notifiers, restore_failed(about, wish, now, problem, unsafe=unsafe, run=run, link=link), None)
    else:
        said = redact(came_back_to(account))
        tell(estate.notifiers, restore_finished(about, wish, now, said=said, run=run, link=link), None)


def _emit(estate: OpenEstate, name: str, request: RestoreRequest, account: Account, error: str) -> None:
    happened = Happened(
        name,
        estate.file.estate,
        plan=request.plan,
        backup=account.entry_id,
        run=holder(),
        error=error,
        ends_run=name != "slipway.restore.approval-wanted",
    )
    emit(happened, estate.context.secrets.redact)


def _show(estate: OpenEstate, request: RestoreRequest, account: Account, problem: str) -> None:
    plan = estate.file.backups.get(request.plan)
    if plan is None:
        return
    said, rows = error_rows(problem)
    account.state = account.state or rows.get("state", "")
    with only_shown():
        create_markdown_artifact(
            key=f"restore-{request.plan}-{request.to}",
            markdown=estate.context.secrets.redact(report(account, plan.objectives, said)),
            description="failed" if problem else "up",
        )


def _record(estate: OpenEstate, request: RestoreRequest, account: Account, problem: str) -> None:
    facts = {
        "error": problem,
        "wish": account.wish,
        "entry": account.entry_id,
        "where": account.where,
        "aside": account.aside,
        "rto_s": account.rto_s,
        "replayed_at": account.replayed_at,
        "heartbeat": account.heartbeat,
        "steps": [{"name": each.what, "took_s": each.took_s, "said": each.said} for each in account.steps],
        "remarks": list(account.remarks),
    }
    try:
        note = RestoreNote(holder(), request.plan, request.to, ENDED, datetime.now(UTC), facts)
        estate.ledger.restores.note(note)
    except SlipwayError as error:
        get_run_logger().warning("how it has ended is not on record: %s", error.what)
