"""How a run asks a person: it suspends, and no process is held. Apart from `steps` only because of its size."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from prefect.logging import get_run_logger

from blocks.job import Job
from tasks.common.approval_steps import require_answer
from tasks.common.errors import Refused
from tasks.common.service import Approval
from tasks.release.announce_steps import announce_question
from tasks.release.approval import Answer, approved, asked, question, wanted_before, where
from tasks.release.model import Commit, Kind
from tasks.release.report import results

_COMMITS = 20


def may_ask(job: Job, environment: str) -> bool:
    """Return whether a person is asked anything at all on the way into an environment.

    Only into the last one; and a rollback is an emergency, which nobody is asked about.
    """
    if environment != job.environment or job.record.kind is Kind.ROLLBACK:
        return False
    return job.service.approval is not None or job.site(environment).environment.approval


def require_approval(
    job: Job,
    environment: str,
    weight_percent: float | None,
    present_percent: float,
    stable: str | None,
    plan: Callable[[], Sequence[str]],
) -> None:
    """A person has said yes where one must be asked; until then the run is suspended, and ends its process here.

    What a run has asked and been told is on record: it is never asked the same twice, also where the Prefect server and
    the worker were restarted in between.

    Args:
        job: the release, for which `may_ask` holds.
        environment: where it wants to go on.
        weight_percent: the share of the traffic that it would get; None: before anything is placed there.
        present_percent: the share that it has.
        stable: the release that serves there; None if none does.
        plan: gives the steps that a yes leads to.

    Raises:
        Refused: a person has said no, or the time for an answer is over.
        Retryable: the Prefect server does not let the run be suspended.
        prefect.exceptions.Pause: the run is suspended.
    """
    always = job.site(environment).environment.approval
    if not wanted_before(job.service.approval, always, weight_percent, present_percent):
        return
    before = where(weight_percent)
    past = job.estate.ledger.evidence(job.record.id)
    if approved(past, before):
        return
    asked_for = asked(past, before)
    text = ""
    if asked_for is None:
        expires_s = (job.service.approval or Approval()).expires_s
        expires_at = datetime.now(UTC) + timedelta(seconds=expires_s)
        text = _question(job, stable, before, expires_s, plan())
        job.journal.note("approval-asked", before, environment=environment, expires_at=expires_at.isoformat())
        job.journal.require_kept()
        get_run_logger().warning(
            "%s waits for an answer before %s, until %s: 'slipway approve %s --reason TEXT', 'reject' instead of "
            "'approve', or 'Resume' in the Prefect UI",
            environment,
            before,
            f"{expires_at:%Y-%m-%d %H:%M:%S} UTC",
            job.record.id[:8],
        )
        announce_question(job.estate, job.record, job.journal, before, expires_at)
    else:
        expires_at = asked_for.expires_at
    job.waits_s = (expires_at - datetime.now(UTC)).total_seconds()
    about = f"{job.service.service} {job.commit.short}"
    decision = require_answer(text, before, expires_at, about, "release again", _expired(job, before))
    job.journal.note(
        "approval",
        before,
        environment=environment,
        decision=decision.decision,
        reason=decision.reason,
        by=decision.name,
    )
    get_run_logger().info("%s says %s before %s: %s", decision.name, decision.decision, before, decision.reason)
    if decision.decision == Answer.REJECT.value:
        raise Refused(
            f"{decision.name} has rejected it: {decision.reason}",
            on=f"{job.service.service} {job.commit.short} to {environment}, before {before}",
            next_action="talk to whoever rejected it; release again when the reason is gone",
        )


def _question(job: Job, stable: str | None, before: str, expires_s: float, plan: Sequence[str]) -> str:
    # Commits before they are escaped, where a secret's shape is still to be seen; the whole for everything else.
    text = question(
        job.record,
        before,
        expires_s,
        [replace(c, subject=job.redact(c.subject), author=job.redact(c.author)) for c in _commits_since(job, stable)],
        stable,
        results(job.record, job.estate.ledger.evidence(job.record.id)),
        plan,
    )
    return job.redact(text)


def _commits_since(job: Job, stable: str | None) -> tuple[Commit, ...]:
    try:
        after = job.source.resolve(stable).sha if stable else None
        return job.source.log(after, job.commit, _COMMITS)
    except Refused as problem:
        get_run_logger().warning("the commits since %s cannot be listed: %s", stable, problem.what)
        return ()


def _expired(job: Job, before: str) -> Refused:
    return Refused(
        f"nobody has answered in time whether it may go on before {before}",
        on=f"{job.service.service} {job.commit.short} to {job.environment}",
        next_action="release again, and answer; 'approval.expires' in the service file says how long it waits",
    )
