"""The one place where something of a move between sites is announced: to people, to automations, and on record."""

from datetime import UTC, datetime

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from tasks.common.errors import SlipwayError, Unsafe
from tasks.common.event_steps import emit
from tasks.common.events import Happened
from tasks.common.lease_steps import holder
from tasks.common.moves import ENDED, MoveNote
from tasks.common.run_steps import page_of
from tasks.common.steps import only_shown
from tasks.failover.decide import show_loss
from tasks.failover.model import TakenBack
from tasks.failover.report import Account, measured, report, served_by
from tasks.failover.request import MoveRequest
from tasks.notify.failover_messages import about_failover, move_asks, move_failed, move_finished
from tasks.notify.messages import error_rows
from tasks.notify.steps import tell


def announce_question(estate: OpenEstate, request: MoveRequest, account: Account, expires_at: datetime) -> None:
    """Automations and people know that the run waits for an answer, until when, and how to answer."""
    redact, run = estate.context.secrets.redact, holder()
    _emit(estate, "slipway.failover.approval-wanted", request, account, "")
    assert account.decision is not None
    lost = redact(show_loss(account.decision.loss))
    about, by = about_failover(estate.file.estate, request.failover), redact(account.by) or "unknown"
    message = move_asks(
        about, str(account.move), datetime.now(UTC), expires_at, by=by, lost=lost, run=run, link=page_of(run)
    )
    tell(estate.notifiers, message, None)


def announce_end(estate: OpenEstate, request: MoveRequest, account: Account, error: BaseException | None) -> None:
    """How the run has ended is on record, shown in the Prefect UI, and known to automations and people."""
    redact, run, now = estate.context.secrets.redact, holder(), datetime.now(UTC)
    # The text of what is not ours may hold anything.
    text = str(error) if isinstance(error, SlipwayError) else f"unexpected {type(error).__name__}"
    problem = redact(text) if error is not None else ""
    _record(estate, request, account, problem)
    _emit(estate, "slipway.failover.failed" if problem else "slipway.failover.finished", request, account, problem)
    _show(estate, request, account, problem)
    about, link = about_failover(estate.file.estate, request.failover), page_of(run)
    wish = str(account.move or account.kind)
    if problem:
        back, unsafe = (
            isinstance(error, TakenBack),
            isinstance(error, Unsafe) or (account.changed and not account.closed),
        )
        tell(
            estate.notifiers, move_failed(about, wish, now, problem, unsafe=unsafe, back=back, run=run, link=link), None
        )
        return
    plan = estate.file.failovers[request.failover]
    said = [f"{what} {found} ({limit})" for what, found, limit in measured(account, plan.objectives) if limit]
    tell(estate.notifiers, move_finished(about, wish, now, served_by(account), said, run=run, link=link), None)


def _emit(estate: OpenEstate, name: str, request: MoveRequest, account: Account, error: str) -> None:
    move = account.move
    happened = Happened(
        name,
        estate.file.estate,
        failover=request.failover,
        kind=account.kind.value,
        region=move.target if move is not None else request.to,
        run=holder(),
        error=error,
        ends_run=name != "slipway.failover.approval-wanted",
    )
    emit(happened, estate.context.secrets.redact)


def _show(estate: OpenEstate, request: MoveRequest, account: Account, problem: str) -> None:
    plan = estate.file.failovers.get(request.failover)
    if plan is None:
        return
    said, rows = error_rows(problem)
    account.state = account.state or rows.get("state", "")
    with only_shown():
        create_markdown_artifact(
            key=f"{account.kind}-{request.failover}",
            markdown=estate.context.secrets.redact(report(account, plan.objectives, said)),
            description="failed" if problem else served_by(account),
        )


def _record(estate: OpenEstate, request: MoveRequest, account: Account, problem: str) -> None:
    loss = account.decision.loss if account.decision is not None else None
    facts = {
        "error": problem,
        "closed": account.closed.value if account.closed is not None else "",
        "down_since": account.down_since.isoformat() if account.down_since is not None else None,
        "outage_s": account.outage_s,
        "loss_s": loss.seconds if loss is not None else None,
        "loss_bytes": loss.bytes if loss is not None else None,
        "steps": [
            {"at": each.at.isoformat(), "what": each.what, "took_s": each.took_s, "said": each.said}
            for each in account.steps
        ],
        "remarks": list(account.remarks),
    }
    move_id = account.move.id if account.move is not None else holder()
    try:
        note = MoveNote(move_id, holder(), request.failover, ENDED, datetime.now(UTC), facts)
        estate.ledger.moves.note(note)
    except SlipwayError as error:
        get_run_logger().warning("how it has ended is not on record: %s", error.what)
