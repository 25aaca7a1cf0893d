"""How a watch tells of an outage: by the event that starts the flow `failover`, and by the one that it is over."""

from collections.abc import Callable

from tasks.common.event_steps import emit
from tasks.common.events import Happened
from tasks.failover.detect import Change


def announce_change(estate: str, failover: str, change: Change, redact: Callable[[str], str]) -> None:
    """The event of the change is on its way to the Prefect server. *Idempotent:* yes: it has one id for each outage."""
    found = change.detection
    since = found.since.isoformat()
    happened = Happened(
        "slipway.site.up" if change.over else "slipway.site.down",
        estate,
        failover=failover,
        kind=found.finding.value,
        region=found.region,
        points=str(found.points),
        quorum=str(found.quorum),
        since=since,
        run=f"{failover}/{found.region}/{since}",
        ends_run=True,
    )
    emit(happened, redact)
