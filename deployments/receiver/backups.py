"""The status of backups as figures for Prometheus."""

import math
from collections.abc import Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge

from tasks.backup.status import PlanStatus

_FIGURES = {
    "problems": "what is wrong with the plan's backups; 'slipway backups' says what",
    "count": "backups that are there, in all repositories",
    "newest_timestamp_seconds": "when the newest backup was complete; 0 where there is none",
    "newest_verified_timestamp_seconds": "when the newest backup that was verified was complete; 0 where there is none",
    "verified_timestamp_seconds": "when a backup was last restored and found right; 0 where none ever was",
    "rpo_seconds": "what the last verification has measured as lost; NaN where it has not",
    "rpo_objective_seconds": "longest time whose changes may be lost",
    "rto_seconds": "time until the last verification had the data; NaN where it had not",
    "rto_objective_seconds": "longest time until the data are there again",
    "size_bytes": "what a restore of the newest backup gives; 0 where there is none",
    "growth_bytes_per_day": "how much that has grown a day, over the last 30 days; NaN where that cannot be said yet",
    "next_timestamp_seconds": "when the clock starts the next backup, at the latest; 0 where it starts none",
    "next_verification_timestamp_seconds": "when the clock starts the next verification; 0 where it starts none",
}


class BackupFigures:
    """Gauges for each plan, `slipway_backup_...{plan="..."}`.

    What never was is 0, so that an alert on the age of a timestamp goes off; what is not known is NaN, so that it does
    not.

    Args:
        registry: where they are collected.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauges = {
            name: Gauge(f"slipway_backup_{name}", text, ["plan"], registry=registry) for name, text in _FIGURES.items()
        }
        self._plans: list[str] = []

    def show(self, statuses: Sequence[PlanStatus]) -> None:
        """The figures are those of these plans, and of no other. *Idempotent:* yes."""
        for gauge in self._gauges.values():
            gauge.clear()
        self._plans = [each.plan for each in statuses]
        for status in statuses:
            for name, value in _values(status).items():
                self._gauges[name].labels(status.plan).set(value)

    def forget(self) -> None:
        """The figures of the plans that were shown last are not known. *Idempotent:* yes."""
        for plan in self._plans:
            for gauge in self._gauges.values():
                gauge.labels(plan).set(math.nan)


def _values(status: PlanStatus) -> dict[str, float]:
    newest, verified = status.newest, status.newest_verified
    return {
        "problems": len(status.problems),
        "count": status.backups,
        "newest_timestamp_seconds": _timestamp(newest.stored.ended_at if newest else None),
        "newest_verified_timestamp_seconds": _timestamp(verified.stored.ended_at if verified else None),
        "verified_timestamp_seconds": _timestamp(status.verified_at),
        "rpo_seconds": _measured(status.rpo_s),
        "rpo_objective_seconds": status.rpo_objective_s,
        "rto_seconds": _measured(status.rto_s),
        "rto_objective_seconds": status.rto_objective_s,
        "size_bytes": newest.stored.size_bytes if newest else 0,
        "growth_bytes_per_day": _measured(status.growth_bytes_a_day),
        "next_timestamp_seconds": _timestamp(status.next_backup_at),
        "next_verification_timestamp_seconds": _timestamp(status.next_verification_at),
    }


def _timestamp(at: datetime | None) -> float:
    return 0.0 if at is None else at.timestamp()


def _measured(value: float | None) -> float:
    return math.nan if value is None else value
