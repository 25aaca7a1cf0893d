"""How a live drill asks a person before it breaks anything, and how a drill ends."""

from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.logging import get_run_logger

from tasks.common.approval_steps import require_answer
from tasks.common.drill_notes import ANSWERED, ASKED
from tasks.common.errors import Refused, SlipwayError, Unsafe
from tasks.common.lease_steps import holder
from tasks.common.markdown import escape
from tasks.common.steps import ONCE
from tasks.common.units import show_duration
from tasks.drill.announce_steps import announce_question
from tasks.drill.model import Injection
from tasks.drill.plan import printed
from tasks.drill.report import headline
from tasks.drill.steps import Drilling

_BEFORE = "the drill"


class DrillFailed(SlipwayError):
    """What was seen is not what was believed, or not what must be achieved; every fault is undone."""

    meaning = "Failed (drill)"


@task(name="ask", task_run_name="ask whether {work} may be practised on what serves", **ONCE)
def ask(work: Drilling) -> None:
    """The question, and until when it may be answered, are on record, and people know of it. *Idempotent:* yes.

    Raises:
        Retryable: the ledger does not answer.
    """
    notes = work.place.estate.ledger.drills.notes(holder())
    asked = next((each for each in notes if each.kind == ASKED), None)
    if asked is not None:
        work.expires_at = datetime.fromisoformat(str(asked.facts["expires_at"]))
        return
    work.expires_at = datetime.now(UTC) + timedelta(seconds=work.place.drills.approval_within_s)
    work.note(ASKED, {"expires_at": work.expires_at.isoformat()})
    get_run_logger().warning("waits for an answer: 'slipway approve %s --reason TEXT', or 'reject'", holder()[:8])
    announce_question(work, work.expires_at)


def require_approval(work: Drilling, found: tuple[Injection, ...]) -> None:
    """A person has said yes; until then the run is suspended, and ends its process here. It is asked once.

    Raises:
        Refused: a person has said no, or the time for an answer is over.
        prefect.exceptions.Pause: the run is suspended.
    """
    notes = work.place.estate.ledger.drills.notes(holder())
    answer = next((each.facts for each in notes if each.kind == ANSWERED), None)
    if answer is None:
        assert work.expires_at is not None, "ask comes first"
        late = Refused(
            "nobody has answered in time whether it may be practised on what serves",
            on=str(work),
            next_action="start it again, and answer; 'approval_within' of drills says how long it waits",
        )
        said = require_answer(_question(work, found), _BEFORE, work.expires_at, str(work), "start it again", late)
        answer = {"decision": said.decision, "reason": work.redact(said.reason), "by": work.redact(said.name)}
        work.note(ANSWERED, answer)
    work.expires_at = None
    work.say(f"{answer['by']} says {answer['decision']}: {answer['reason']}")
    if answer["decision"] != "approve":
        raise Refused(
            f"{answer['by']} has rejected it: {answer['reason']}",
            on=str(work),
            next_action="talk to whoever rejected it; start it again when the reason is gone",
        )


def _question(work: Drilling, found: tuple[Injection, ...]) -> str:
    experiment = work.place.experiment
    steps = printed(experiment, work.place.cluster, found, work.request.repeat)
    lines = [f"{number}. {escape(work.redact(step))}" for number, step in enumerate(steps, start=1)]
    waits = show_duration(work.place.drills.approval_within_s)
    return (
        f"## May {escape(str(work))} be practised on what serves?\n\nUsers would notice: "
        f"{escape(experiment.blast_radius.users)}. It waits {waits} for an answer.\n\n" + "\n".join(lines) + "\n"
    )


def require_passed(work: Drilling) -> None:
    """Every round was as it had to be.

    Raises:
        DrillFailed: one was not; all that was wrong is listed.
        Unsafe: two nodes took writes at once.
    """
    wrong = [f"round {each.number}: {problem}" for each in work.rounds for problem in each.problems]
    if not wrong:
        return
    kind = Unsafe if any(both.shown for each in work.rounds for both in each.together) else DrillFailed
    raise kind(
        headline(work.place.experiment, work.rounds),
        on=str(work),
        state="every fault that a driver can undo is undone",
        next_action="read the report: it says what to improve; then practise again",
        facts={"wrong": "\n".join(wrong)},
    )
