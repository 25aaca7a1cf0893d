"""What an estate wants on a Prefect server, small: two flows, and as many schedules as a test needs."""

from typing import Any

from tasks.common.estate import Estate
from tasks.server.model import FlowSpec

_PLACE = {
    "url": "http://127.0.0.1:1",
    "replicas": 1,
    "runtime": {"driver": "memory"},
    "router": {"driver": "memory"},
    "metrics": {"driver": "memory"},
}
FORM = {"type": "object", "properties": {"request": {"type": "object"}}}
TRIGGER = {"name": "slipway, a run has crashed", "expect": ["prefect.flow-run.Crashed"], "match_related": {"a": "b"}}
RELEASE = FlowSpec("release", "Take a commit to production.", "flows.release.release", ("slipway",), "slipway", FORM)
RECONCILE = FlowSpec(
    "reconcile",
    "Bring to an end.",
    "flows.reconcile.reconcile",
    ("slipway",),
    "slipway",
    FORM,
    limit={"limit": 1, "collision_strategy": "CANCEL_NEW", "grace_period_seconds": 60},
    schedules=({"interval": 60, "slug": "every-minute"},),
    triggers=(TRIGGER,),
)
FLOWS = (RELEASE, RECONCILE)
NIGHTLY = {"start": "release", "cron": "0 2 * * *", "time_zone": "Europe/Berlin", "success_within": "26h"}


def estate(**keys: Any) -> Estate:
    """Return an estate with further keys."""
    return Estate.model_validate(
        {
            "estate": "small",
            "workspace": "work",
            "ledger": {"driver": "memory"},
            "store": {"driver": "memory"},
            "environments": {"production": _PLACE},
            "services": {"campus": {"repository": "nowhere"}},
            **keys,
        }
    )
