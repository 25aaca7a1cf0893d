"""What automations are told about a release or rollback. Pure."""

from tasks.common.events import Happened
from tasks.release.model import Outcome, ReleaseRecord

_ENDS = {
    Outcome.SUCCEEDED: "promoted",
    Outcome.FAILED: "failed",
    Outcome.ROLLED_BACK: "rolled-back",
    Outcome.UNSAFE: "unsafe",
    Outcome.INTERRUPTED: "interrupted",
}


def end_of(record: ReleaseRecord, estate: str) -> Happened:
    """Return the event of a run's end, such as 'slipway.rollback.promoted'.

    Both kinds of runs end by the same words, so that what is made for one fits the other.

    Raises:
        KeyError: the run has not ended.
    """
    return _about(record, estate, _ENDS[record.outcome], ends_run=True)


def question_of(record: ReleaseRecord, estate: str) -> Happened:
    """Return the event of a release that waits for an answer."""
    return _about(record, estate, "approval-wanted", ends_run=False)


def _about(record: ReleaseRecord, estate: str, what: str, *, ends_run: bool) -> Happened:
    return Happened(
        name=f"slipway.{record.kind}.{what}",
        estate=estate,
        service=record.service,
        environment=record.environment,
        release=record.release,
        commit=record.commit,
        run=record.id,
        error=record.error or "",
        ends_run=ends_run,
    )
