"""Starts the runs that deliveries ask for: in their order, each once, and later where the Prefect server is away."""

import logging
from collections.abc import Callable, Mapping
from threading import Event, Thread

from deployments.receiver.seen import Seen
from tasks.common.delivery import Deliveries, Delivery
from tasks.common.errors import Refused, SlipwayError

log = logging.getLogger("slipway.receive")

LOOK_EVERY_S = 2.0
"""How often it looks by itself: for what another receiver of the same ledger has left, and after a failure."""
_AT_ONCE = 100

StartRun = Callable[[str, Mapping[str, str], str], str]
"""Starts a run of a flow with parameters and an idempotency key, and returns its id."""


class Dispatcher:
    """A thread that starts what waits.

    Args:
        deliveries: where they are kept.
        start_run: starts a run.
        redact: takes secrets out of a text.
        seen: counts.
    """

    def __init__(self, deliveries: Deliveries, start_run: StartRun, redact: Callable[[str], str], seen: Seen) -> None:
        self._deliveries, self._start_run, self._redact, self._seen = deliveries, start_run, redact, seen
        self._wanted, self._ended = Event(), False
        self._thread = Thread(target=self._work, name="dispatcher", daemon=True)

    @property
    def works(self) -> bool:
        """Return whether it is at work: not where a bug has ended it."""
        return self._thread.is_alive()

    def start(self) -> None:
        """It works, on what an earlier one has left first."""
        self._thread.start()

    def stop(self) -> None:
        """It has ended; what waits is started by the next one."""
        self._ended = True
        self._wanted.set()
        self._thread.join()

    def wake(self) -> None:
        """There may be something to start."""
        self._wanted.set()

    def start_waiting(self) -> None:
        """Every run that is waited for is started, in order.

        Raises:
            Retryable: the ledger or the Prefect server does not answer; the rest waits.
        """
        while not self._ended and (waiting := self._deliveries.waiting(_AT_ONCE)):
            for delivery in waiting:
                if not self._ended:
                    self._start_one(delivery)

    def _start_one(self, delivery: Delivery) -> None:
        assert delivery.start is not None
        try:
            # Its key lets it be started once, also when this process dies before the next line.
            run_id = self._start_run(delivery.start.flow, delivery.start.parameters, f"delivery-{delivery.id}")
        except Refused as error:
            log.error("delivery %s starts nothing: %s", delivery.id, self._redact(str(error)))
            self._deliveries.settle(delivery.id, refused=self._redact(error.what))
            return
        self._deliveries.settle(delivery.id, run_id=run_id)
        self._seen.started()
        log.info("delivery %s has started run %s", delivery.id, run_id)

    def _work(self) -> None:
        told = ""
        while not self._ended:
            self._wanted.clear()
            try:
                self.start_waiting()
                told = ""
            except SlipwayError as error:
                self._seen.failed()
                # Once, and not every two seconds of a night.
                if (problem := self._redact(str(error))) != told:
                    log.warning("runs are started later: %s", problem)
                told = problem
            self._wanted.wait(LOOK_EVERY_S)
