"""What a receiver remembers of what it has answered: figures for Prometheus, and what it has refused of late."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tasks.common.delivery import Delivery

REMEMBERED = 50
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True)
class Refused:
    """A delivery that was not taken, and so is not in the ledger."""

    at: datetime
    source: str
    status: int
    what: str


class Seen:
    """Counts and remembers; each object for itself. Safe to share between threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refused: deque[Refused] = deque(maxlen=REMEMBERED)
        self._taken = Counter(
            "slipway_deliveries",
            "deliveries that were kept, by what becomes of them",
            ["source", "status"],
            registry=self.registry,
        )
        self._refused = Counter(
            "slipway_deliveries_refused",
            "deliveries that were not taken, by HTTP status",
            ["code"],
            registry=self.registry,
        )
        self._answer_s = Histogram(
            "slipway_delivery_answer_seconds", "time to the answer", buckets=_BUCKETS_S, registry=self.registry
        )
        self._started = Counter("slipway_delivery_runs_started", "runs that were started", registry=self.registry)
        self._failed = Counter(
            "slipway_delivery_starts_failed", "times that a run could not be started", registry=self.registry
        )
        self._reported = Counter(
            "slipway_delivery_reports",
            "reports to forges, by what became of them: told, refused, later",
            ["result"],
            registry=self.registry,
        )
        self._alarms = Counter(
            "slipway_alarms",
            "messages about alarms, by what became of them: told, failed",
            ["result"],
            registry=self.registry,
        )
        self._waiting = Gauge(
            "slipway_deliveries_waiting", "deliveries whose runs are not started yet", registry=self.registry
        )

    def taken(self, delivery: Delivery) -> None:
        """A delivery was kept."""
        self._taken.labels(delivery.source, delivery.status).inc()

    def refuse(self, source: str, status: int, what: str) -> None:
        """A delivery was not taken."""
        # Only the status is a label: who is not known could else make as many figures as there are names.
        self._refused.labels(str(status)).inc()
        self.refused.append(Refused(datetime.now(UTC), source[:40], status, what))

    def alarm(self, told: bool) -> None:
        """A channel was told of an alarm, or could not be."""
        self._alarms.labels("told" if told else "failed").inc()

    def started(self) -> None:
        """A run was started."""
        self._started.inc()

    def failed(self) -> None:
        """A run could not be started."""
        self._failed.inc()

    def reported(self, result: str) -> None:
        """A forge was told how a run is, has refused to be, or is told later."""
        self._reported.labels(result).inc()

    def wait(self, waiting: float) -> None:
        """So many deliveries wait for their runs; NaN where nobody knows."""
        self._waiting.set(waiting)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """The time of the block is counted as that of an answer."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            self._answer_s.observe(time.monotonic() - began_s)
