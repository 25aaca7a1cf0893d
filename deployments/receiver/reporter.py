"""Tells forges how the runs of their deliveries went: in order, each word once, and later where one is away."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from uuid import uuid4

from deployments.receiver.seen import Seen
from tasks.common.delivery import Deliveries, Report, Reported
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.lease import Lease, Leases
from tasks.webhook.ports import CommitReport, Forge
from tasks.webhook.told import to_tell

log = logging.getLogger("slipway.receive")

LOOK_EVERY_S = 5.0
"""How often it looks at what is open. Prefect is asked only where there is something."""
PAUSE_S = 30.0
"""How long a forge that does not answer is left alone."""
SINCE = timedelta(days=7)
"""What was started longer ago is not told any more."""
_AT_ONCE = 500
_SCOPE = "receiver/reports"
# A round ends long before its lease does: a report takes 10 s at most, so that two receivers never tell in turns.
_LEASE_S, _ROUND_S = 30.0, 10.0

StatesOf = Callable[[Sequence[str]], Mapping[str, str]]
"""Returns the types of runs' states by id, without those that are not known."""


class Reporter:
    """A thread that tells forges how runs went. Of several receivers of one ledger, one tells at a time.

    Args:
        deliveries: what was started, and what was told.
        leases: of the same ledger.
        forges: by the names of their sources.
        states_of: asks how runs are.
        page_of: returns the address of a run's page.
        redact: takes secrets out of a text.
        seen: counts.
        pause_s: how long a forge that does not answer is left alone.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        leases: Leases,
        forges: Mapping[str, Forge],
        states_of: StatesOf,
        page_of: Callable[[str], str],
        redact: Callable[[str], str],
        seen: Seen,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._deliveries, self._leases, self._forges = deliveries, leases, forges
        self._states_of, self._page_of, self._redact, self._seen = states_of, page_of, redact, seen
        self._pause_s = pause_s
        self._silent_until_s: dict[str, float] = {}
        self._holder = f"receiver-{uuid4()}"
        self._lease: Lease | None = None
        self._ended = Event()
        self._thread = Thread(target=self._work, name="reporter", daemon=True)

    def start(self) -> None:
        """It works, if there is a forge that wants to know; on what an earlier one has left first."""
        if self._forges:
            self._thread.start()

    def stop(self) -> None:
        """It has ended; what is open is told by the next one."""
        self._ended.set()
        if self._forges:
            self._thread.join()

    def tell_open(self) -> None:
        """Every forge that answers knows how its runs are.

        Raises:
            Retryable: the ledger or the Prefect server does not answer; what is open is told later.
        """
        lease = self._leases.acquire(_SCOPE, self._holder, _LEASE_S)
        if not isinstance(lease, Lease):
            return
        self._lease = lease
        ends_at_s = time.monotonic() + _ROUND_S
        found = self._deliveries.unreported(list(self._forges), datetime.now(UTC) - SINCE, _AT_ONCE)
        states = self._states_of([each.delivery.why for each in found]) if found else {}
        for each in found:
            if self._ended.is_set() or time.monotonic() > ends_at_s:
                return
            run_id, source = each.delivery.why, each.delivery.source
            wanted = to_tell(each, states.get(run_id), self._page_of(run_id))
            if wanted is not None and time.monotonic() >= self._silent_until_s.get(source, 0.0):
                self._tell(each, wanted)

    def _tell(self, reported: Reported, wanted: CommitReport) -> None:
        delivery, refused = reported.delivery, ""
        try:
            self._forges[delivery.source].report(wanted)
        except Retryable as error:
            self._silent_until_s[delivery.source] = time.monotonic() + self._pause_s
            self._seen.reported("later")
            log.warning("%s is told later: %s", delivery.source, self._redact(str(error)))
            return
        except Refused as error:
            refused = self._redact(error.what)
            log.error("%s is not told about %s: %s", delivery.source, delivery.id, self._redact(str(error)))
        number = reported.last.number + 1 if reported.last else 1
        self._deliveries.note_report(delivery.id, Report(number, wanted.state, datetime.now(UTC), refused))
        self._seen.reported("refused" if refused else "told")

    def _work(self) -> None:
        told = ""
        while not self._ended.is_set():
            problem = ""
            try:
                self.tell_open()
            except SlipwayError as error:
                problem = self._redact(str(error))
            except Exception as error:
                # Nothing else depends on it: a bug here ends neither the receiver nor the reports of other runs.
                problem = f"{type(error).__name__}: {self._redact(str(error))}"
            # Once, and not every five seconds of a night.
            if problem and problem != told:
                log.warning("forges are told later: %s", problem)
            told = problem
            self._ended.wait(LOOK_EVERY_S)
        self._give_up()

    def _give_up(self) -> None:
        if self._lease is not None:
            try:
                self._leases.give_up(self._lease)
            except SlipwayError as error:
                log.warning("the next receiver tells forges in %g s only: %s", _LEASE_S, self._redact(error.what))
