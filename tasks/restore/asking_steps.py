"""How a restore asks a person whether it may take the place of what is there. A part of `steps`."""

from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.logging import get_run_logger

from tasks.common.approval_steps import require_answer
from tasks.common.backups import RungOutcome, Verification
from tasks.common.errors import Refused
from tasks.common.lease_steps import holder
from tasks.common.markdown import escape, table
from tasks.common.restores import ANSWERED, ASKED, answer_of, expiry_of
from tasks.common.steps import ONCE
from tasks.common.units import show_duration
from tasks.restore.announce_steps import announce_question
from tasks.restore.choose import wish_of
from tasks.restore.decide import question, steps_of
from tasks.restore.steps import Restoring

_LOOK_BACK = 50
_BEFORE = "the restore"


def proven(work: Restoring) -> Verification | None:
    """Return the verification by which this run has shown that the backup can be restored; None if it has not yet."""
    found = work.estate.ledger.catalogue.verifications(work.request.plan, _LOOK_BACK)
    ours = (work.picked.entry.id, holder())
    return next((each for each in found if (each.entry_id, each.run_id) == ours and each.sound), None)


@task(name="ask", task_run_name="ask whether {work} may take the place of what is there", **ONCE)
def ask(work: Restoring) -> None:
    """The question, and until when it may be answered, are on record, and people know of it. *Idempotent:* yes.

    Raises:
        Retryable: the ledger does not answer.
    """
    notes = work.estate.ledger.restores.notes(holder())
    found = expiry_of(notes)
    if found is None:
        found = datetime.now(UTC) + timedelta(seconds=work.spec.approval_within_s)
        to = work.picked.to
        at = to.at.isoformat() if to.at is not None else ""
        work.note(ASKED, expires_at=found.isoformat(), entry=work.picked.entry.id, at=at, backup_only=to.backup_only)
        get_run_logger().warning(
            "waits for an answer until %s: 'slipway approve %s --reason TEXT', 'reject' instead of 'approve', or "
            "'Resume' in the Prefect UI",
            f"{found:%Y-%m-%d %H:%M:%S} UTC",
            holder()[:8],
        )
        announce_question(work.estate, work.request, work.account, found)
    work.expires_at = found


def require_approval(work: Restoring) -> None:
    """A person has said yes; until then the run is suspended, and ends its process here. It is asked once.

    Raises:
        Refused: a person has said no, or the time for an answer is over.
        prefect.exceptions.Pause: the run is suspended.
    """
    notes = work.estate.ledger.restores.notes(holder())
    answer = answer_of(notes)
    if answer is None:
        assert work.expires_at is not None
        late = Refused(
            "nobody has answered in time whether it may take the place of what is there",
            on=str(work),
            next_action="restore again, and answer; 'approval_within' of the target says how long it waits",
        )
        said = require_answer(_question(work), _BEFORE, work.expires_at, str(work), "restore again", late)
        answer = {"decision": said.decision, "reason": work.redact(said.reason), "by": work.redact(said.name)}
        work.note(ANSWERED, **answer)
    work.expires_at = None
    work.say(f"{answer['by']} says {answer['decision']}: {answer['reason']}")
    if answer["decision"] != "approve":
        raise Refused(
            f"{answer['by']} has rejected it: {answer['reason']}",
            on=str(work),
            next_action="talk to whoever rejected it; restore again when the reason is gone",
        )
    work.account.remark(f"{answer['by']} has approved it: {answer['reason']}")


def recorded_verdict(found: Verification) -> str:
    """Return what a verification has shown, in one line."""
    held = [rung.name for rung in found.rungs if rung.outcome is RungOutcome.HELD]
    return f"restored into the scratch server by this run, and sound: {', '.join(held)}"


def _question(work: Restoring) -> str:
    found = proven(work)
    assert found is not None, "it is proven before a person is asked"
    steps = steps_of(work.picked, work.spec, work.target.observe(), work.target.address, work.form)
    rows = question(
        wish_of(work.request),
        work.picked,
        work.form,
        work.target.where,
        steps,
        recorded_verdict(found),
        work.request.requested_by,
        show_duration(work.spec.approval_within_s),
    )
    cells = [(escape(work.redact(name)), escape(work.redact(text))) for name, text in rows]
    return f"## May it take the place of what is there?\n\n{table(('', ''), cells)}\n"
