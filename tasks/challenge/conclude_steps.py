"""The end of a challenge: what was found is on record, and people know of it."""

from datetime import UTC, datetime

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from tasks.challenge.climb_steps import Challenging
from tasks.challenge.judge import error_of, headline
from tasks.challenge.report import report
from tasks.common.challenges import Challenge, Verdict
from tasks.common.errors import SlipwayError, Unsafe
from tasks.common.event_steps import emit
from tasks.common.events import Happened
from tasks.common.lease_steps import holder
from tasks.common.run_steps import page_of
from tasks.common.steps import ONCE, TRANSIENT, only_shown
from tasks.notify.messages import damage_found, damage_not_found
from tasks.notify.steps import tell


def conclude(work: Challenging) -> None:
    """What was found is on record, in an artifact, and sent as an event; people know of damage that was not found.

    Raises:
        Unsafe: a damage was not found, or the repository itself is not as it was.
        Refused: nothing is proven.
        Retryable: the ledger does not answer; nothing is on record.
    """
    work.kept.require()
    found = Challenge(
        work.request.plan, holder(), work.entry.id, work.began_at, datetime.now(UTC), work.controls, work.trials
    )
    record(work, found)
    said = work.redact(headline(found))
    with only_shown():
        key = f"challenge-{found.plan}"
        create_markdown_artifact(key=key, markdown=report(found, work.redact), description=said)
    error = error_of(found)
    if found.verdict is not Verdict.NO_VERDICT:
        _announce(work, found, error)
    require_untouched(work)
    if error is not None:
        raise error
    get_run_logger().info("%s: %s", found.plan, said)


@task(name="record", task_run_name="put on record", **TRANSIENT)
def record(work: Challenging, found: Challenge) -> None:
    """The challenge is in the ledger; of the backup itself it says nothing. *Idempotent:* yes, by the run.

    Raises:
        Retryable: the ledger does not answer.
    """
    work.estate.ledger.catalogue.challenged(found)


@task(name="untouched", task_run_name="see that the repository is as it was", **ONCE)
def require_untouched(work: Challenging) -> None:
    """Every file of the repository that was copied is as it was.

    Raises:
        Unsafe: some are not; which ones.
    """
    touched = work.place.touched()
    if touched:
        raise Unsafe(
            "files of the repository have changed while copies of them were damaged",
            on=str(work.repository),
            state="a challenge only reads it; who has changed them is not known",
            next_action=f"find out who else writes there, then verify its backups: {work.request.plan}",
            facts={"changed": "\n".join(touched[:10])},
        )


def _announce(work: Challenging, found: Challenge, error: SlipwayError | None) -> None:
    estate, redact = work.estate.file.estate, work.redact
    said = "" if error is None else headline(found)
    name = "slipway.backup.challenged"
    about = {"plan": found.plan, "backup": found.backup_id, "run": found.run_id}
    emit(Happened(name, estate, **about, error=said, ends_run=True), redact)
    if error is not None:
        problem, link = redact(str(error)), page_of(found.run_id)
        message = damage_not_found(found.plan, estate, found.ended_at, problem, run=found.run_id, link=link)
        tell(work.estate.notifiers, message, None)
        return
    # Only who keeps a trouble open is told that it is over.
    keeping = [each for each in work.estate.notifiers if each.notifier.keeps_trouble_open]
    tell(keeping, damage_found(found.plan, estate, found.ended_at), None)
