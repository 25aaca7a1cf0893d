"""What a forge is told about a run. Pure."""

from tasks.common.delivery import Reported, Told
from tasks.webhook.ports import CommitReport

_STATES: dict[str, tuple[Told, str]] = {
    "COMPLETED": (Told.SUCCESS, "succeeded"),
    "FAILED": (Told.FAILURE, "failed"),
    "CRASHED": (Told.ERROR, "has ended without a word"),
    "CANCELLED": (Told.ERROR, "was cancelled"),
    "PAUSED": (Told.WAITING, "waits for approval"),
}
_AT_WORK = (Told.PENDING, "is at work")
_GONE = (Told.ERROR, "is not known to the Prefect server any more")


def to_tell(reported: Reported, state: str | None, link: str) -> CommitReport | None:
    """Return what the forge is told next; None where it knows that already.

    Why a run has failed is left out: whoever can see the commit can see the report.

    Args:
        reported: the delivery, and what was told last.
        state: of the run, as Prefect calls its type; None where the server does not know the run.
        link: the run's page.
    """
    delivery = reported.delivery
    told, words = _GONE if state is None else _STATES.get(state, _AT_WORK)
    if delivery.start is None or not delivery.event.commit or (reported.last and reported.last.state is told):
        return None
    flow, event = delivery.start.flow, delivery.event
    return CommitReport(event.repository, event.commit, f"slipway/{flow}", told, f"the {flow} {words}", link)
