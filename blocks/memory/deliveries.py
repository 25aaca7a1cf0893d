"""Deliveries of webhooks in memory."""

from collections.abc import Collection
from datetime import UTC, datetime
from threading import Lock

from blocks.delivery_data import as_kept, repeated, settled
from tasks.common.delivery import Delivery, Report, Reported, Status


class MemoryDeliveries:
    """Implements `Deliveries`; each object has deliveries of its own. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: dict[str, Delivery] = {}
        self._settled_at: dict[str, datetime] = {}
        self._reports: dict[str, dict[int, Report]] = {}

    def keep(self, delivery: Delivery) -> Delivery:
        """The delivery is kept; returns it as it is kept now. *Idempotent:* yes."""
        delivery = as_kept(delivery)
        with self._lock:
            for kept in self._kept.values():
                if (kept.source, kept.event.id) == (delivery.source, delivery.event.id):
                    return kept
            for kept in self._kept.values():
                if kept.start and delivery.start and kept.start.action == delivery.start.action:
                    delivery = repeated(delivery, kept)
                    break
            self._kept[delivery.id] = delivery
            return delivery

    def waiting(self, limit: int) -> tuple[Delivery, ...]:
        """Return those whose runs are not started yet, in the order in which they were kept."""
        with self._lock:
            return tuple(each for each in self._kept.values() if each.status is Status.WAITING)[:limit]

    def settle(self, delivery_id: str, *, run_id: str = "", refused: str = "") -> None:
        """The delivery has started a run, or was refused one. *Idempotent:* yes; the first word stands."""
        with self._lock:
            if (kept := self._kept[delivery_id]).status is Status.WAITING:
                self._kept[delivery_id] = settled(kept, run_id, refused)
                self._settled_at[delivery_id] = datetime.now(UTC)

    def latest(self, limit: int) -> tuple[Delivery, ...]:
        """Return the latest ones, newest first."""
        with self._lock:
            return tuple(reversed(self._kept.values()))[:limit]

    def find(self, delivery_id: str) -> Delivery | None:
        """Return one of them; None where there is none."""
        with self._lock:
            return self._kept.get(delivery_id)

    def unreported(self, sources: Collection[str], since: datetime, limit: int) -> tuple[Reported, ...]:
        """Return deliveries of these sources whose runs' ends were not told, in the order in which they were kept."""
        with self._lock:
            started = [
                Reported(each, self._reports.get(each.id, {}).get(len(self._reports.get(each.id, {}))))
                for each in self._kept.values()
                if each.status is Status.STARTED and each.source in sources and self._settled_at[each.id] > since
            ]
        return tuple(each for each in started if each.last is None or not each.last.state.last)[-limit:]

    def note_report(self, delivery_id: str, report: Report) -> None:
        """What a forge was told is on record. *Idempotent:* yes, by its number; the first word stands."""
        with self._lock:
            self._reports.setdefault(delivery_id, {}).setdefault(report.number, report)
