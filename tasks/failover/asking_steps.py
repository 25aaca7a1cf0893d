"""How a move between sites asks a person. A part of `steps`."""

from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.logging import get_run_logger

from tasks.common.approval_steps import require_answer
from tasks.common.errors import Refused
from tasks.common.lease_steps import holder
from tasks.common.markdown import escape, table
from tasks.common.moves import ANSWERED, ASKED, answer_of, expiry_of
from tasks.common.steps import ONCE
from tasks.common.units import show_duration
from tasks.failover.announce_steps import announce_question
from tasks.failover.decide import show_loss
from tasks.failover.plan import plan
from tasks.failover.report import plan_lines
from tasks.failover.steps import Moving

_BEFORE = "the move"


@task(name="ask", task_run_name="ask whether {work} may move", **ONCE)
def ask(work: Moving) -> None:
    """Where a person decides, the question and until when it may be answered are on record, and people know of it.

    *Idempotent:* yes.

    Raises:
        Retryable: the ledger does not answer.
    """
    decision = work.account.decision
    assert decision is not None, "decide comes first"
    if not decision.asks:
        return
    found = expiry_of(work.estate.ledger.moves.notes(holder()))
    if found is None:
        found = datetime.now(UTC) + timedelta(seconds=work.plan.approval_within_s)
        work.note(ASKED, {**work.move.facts, "expires_at": found.isoformat()})
        get_run_logger().warning(
            "waits for an answer until %s: 'slipway approve %s --reason TEXT', 'reject' instead of 'approve', or "
            "'Resume' in the Prefect UI",
            f"{found:%Y-%m-%d %H:%M:%S} UTC",
            holder()[:8],
        )
        announce_question(work.estate, work.request, work.account, found)
    work.expires_at = found


def require_approval(work: Moving) -> None:
    """A person has said yes to this very move, or nobody has to; until then the run is suspended. It is asked once.

    Raises:
        Refused: a person has said no, the time is over, or things are not as they were when it was asked.
        prefect.exceptions.Pause: the run is suspended.
    """
    decision = work.account.decision
    assert decision is not None, "decide comes first"
    if not decision.asks:
        return
    notes = work.estate.ledger.moves.notes(holder())
    answer = answer_of(notes)
    if answer is None:
        assert work.expires_at is not None
        late = Refused(
            "nobody has answered in time whether it may move",
            on=str(work),
            next_action=f"'slipway {work.kind} {work}' again, and answer; 'approval_within' says how long it waits",
        )
        said = require_answer(_question(work), _BEFORE, work.expires_at, str(work), f"{work.kind} again", late)
        answer = {"decision": said.decision, "reason": work.redact(said.reason), "by": work.redact(said.name)}
        work.note(ANSWERED, answer)
    work.expires_at = None
    get_run_logger().info("%s says %s: %s", answer["by"], answer["decision"], answer["reason"])
    if answer["decision"] != "approve":
        raise Refused(
            f"{answer['by']} has rejected it: {answer['reason']}",
            on=str(work),
            next_action="talk to whoever rejected it; start it again when the reason is gone",
        )
    asked = next(note.facts for note in notes if note.kind == ASKED)
    if (asked["source"], asked["target"]) != (work.move.source, work.move.target):
        raise Refused(
            f"it was asked whether it may go from {asked['source']} to {asked['target']}, and now it would go from "
            f"{work.move.source} to {work.move.target}",
            on=str(work),
            next_action=f"'slipway {work.kind} {work}' again: it asks anew",
        )
    work.account.remark(f"{answer['by']} has approved it: {answer['reason']}")


def _question(work: Moving) -> str:
    decision = work.account.decision
    assert decision is not None and work.seen is not None
    steps = plan_lines(decision, plan(decision.move, work.seen, work.tools.rules))
    rows = [
        ("what", str(decision.move)),
        ("why you are asked", decision.asks),
        ("lost", f"{show_loss(decision.loss)} ({decision.loss.how})"),
        ("asked for by", f"{work.account.by or 'unknown'} (not authenticated)"),
        ("without an answer", f"it ends within {show_duration(work.plan.approval_within_s)}, and nothing is changed"),
        *(("to know", each) for each in decision.remarks),
        *((f"step {number}", step) for number, step in enumerate(steps, start=1)),
    ]
    cells = [(escape(work.redact(name)), escape(work.redact(text))) for name, text in rows]
    return f"## May {escape(str(work))} move?\n\n{table(('', ''), cells)}\n"
