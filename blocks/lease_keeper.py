"""Keeps a lease while its holder works, and waits for one that somebody else has."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread

from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.lease import Lease, LeaseLost, Leases, Waiting
from tasks.common.units import show_duration

_ASK_EVERY_S = 2.0
_NEVER = float("-inf")


class KeptLease:
    """Implements `Grant`: renews a lease from a thread of its own, from now on until it is ended.

    An ended one (`stop`, `give_up`, `park`) is not started again: acquire the lease anew.

    Args:
        leases: where the lease is kept.
        lease: as it was acquired.
        ttl_s: each renewal is good for so long; there is one every third of it.
        say: shows a line to whoever follows the run; it is called from the thread, too.
    """

    def __init__(self, leases: Leases, lease: Lease, ttl_s: float, say: Callable[[str], None]) -> None:
        self._leases = leases
        self._lease = lease
        self._ttl_s = ttl_s
        self._say = say
        self._renewing = Lock()
        # How old the lease is by now, nobody knows: the process may have been paused since it was acquired.
        self._renewed_at_s = _NEVER
        self._silent = False
        self._lost: LeaseLost | None = None
        self._ended = Event()
        self._thread = Thread(target=self._keep, name=f"lease {lease.scope}", daemon=True)
        self._thread.start()

    @property
    def lease(self) -> Lease:
        """Return the lease as it was when it was renewed last."""
        return self._lease

    @property
    def token(self) -> int:
        """Return the token of the lease."""
        return self._lease.token

    def require(self) -> None:
        """The lease is held, as far as is known; one that was not renewed for ttl_s was renewed now.

        *Idempotent:* yes.

        Raises:
            LeaseLost: somebody else has it, or it was given up; from then on always.
        """
        # Without the lock: a renewal that is on its way may take as long as a silent network makes it.
        if self._lost is None and self._good():
            return
        with self._renewing:
            if self._lost is None and not self._good():
                self._renew()
            if self._lost is not None:
                raise self._lost
            if not self._good():
                self._say(
                    f"going on without knowing who has the lease on {self._lease.scope}: the ledger does not answer; "
                    f"what is changed refuses token {self._lease.token} if there is a newer one"
                )

    def stop(self) -> None:
        """The lease is not renewed any more, and expires by itself. *Idempotent:* yes."""
        self._ended.set()
        self._thread.join()

    def give_up(self) -> None:
        """The lease is free, and this one good for nothing any more. *Idempotent:* yes.

        A ledger that does not answer is told of, not raised: the lease expires by itself.
        """
        self._end("the lease was given up by this process")
        try:
            self._leases.give_up(self._lease)
        except SlipwayError as error:
            self._say(
                f"the lease on {self._lease.scope} was not given up, and is free when it has expired, within "
                f"{show_duration(self._ttl_s)}: {error.what}"
            )

    def park(self, for_s: float) -> None:
        """The lease is kept for its suspended holder for so long; this process changes nothing any more.

        *Idempotent:* yes, but for the time that it counts from.

        Raises:
            LeaseLost: somebody else has it, or it was given up.
            Retryable: the ledger does not answer; the lease is not parked, and expires by itself.
        """
        self._end("the lease was parked by this process")
        self._lease = self._leases.park(self._lease, for_s)

    def _good(self) -> bool:
        return _now_s() - self._renewed_at_s <= self._ttl_s

    def _end(self, why: str) -> None:
        self.stop()
        with self._renewing:
            self._lost = self._lost or LeaseLost(
                why,
                on=self._lease.scope,
                next_action="report this as a mistake in Slipway: it was to change something after its work was done",
            )

    def _keep(self) -> None:
        pause_s = 0.0
        while not self._ended.wait(pause_s):
            with self._renewing:
                if self._lost is None:
                    self._renew()
                if self._lost is not None:
                    self._say(str(self._lost))
                    return
            pause_s = min(self._ttl_s / 3, _ASK_EVERY_S) if self._silent else self._ttl_s / 3

    def _renew(self) -> None:
        """The lease is renewed, known to be lost, or the ledger's silence was told of once."""
        # Before asking: the answer may have been long on its way.
        asked_at_s = _now_s()
        try:
            self._lease = self._leases.renew(self._lease, self._ttl_s)
        except LeaseLost as error:
            self._lost = error
        except SlipwayError as error:
            if not self._silent:
                self._say(f"the lease on {self._lease.scope} is not renewed, and tried again: {error.what}")
            self._silent = True
        else:
            self._renewed_at_s = asked_at_s
            if self._silent:
                self._say(f"the lease on {self._lease.scope} is renewed again")
            self._silent = False


def await_lease(
    leases: Leases,
    scope: str,
    holder: str,
    ttl_s: float,
    within_s: float,
    say: Callable[[str], None],
    on_waiting: Callable[[Waiting], None] | None = None,
    instead_of: str = "",
) -> Lease:
    """Return the lease, waiting for it in the queue for so long; the queue is left if it does not come.

    *Idempotent:* no, as `Leases.acquire`.

    Args:
        leases: where it is kept.
        scope: what is wanted.
        holder: id of the run.
        ttl_s: expires after so many seconds without a renewal.
        within_s: longest wait; 0: not at all.
        say: shows a line to whoever follows the run: once for each run that is waited for.
        on_waiting: called with each answer that is not the lease.
        instead_of: as in `Leases.acquire`.

    Raises:
        Refused: the time is over, and somebody else has the lease.
        Retryable: the ledger does not answer, at the first question or at the last.
    """
    deadline_s = _now_s() + within_s
    told = ""
    try:
        while True:
            left_s = deadline_s - _now_s()
            try:
                found = leases.acquire(scope, holder, ttl_s, instead_of=instead_of)
            except Retryable as error:
                if not told or left_s <= 0:
                    raise
                if told != error.what:
                    told = error.what
                    say(f"waiting for the lease on {scope}: {told}")
            else:
                if isinstance(found, Lease):
                    return found
                if on_waiting is not None:
                    on_waiting(found)
                if left_s <= 0:
                    raise _taken(found, within_s)
                if found.held_by != told:
                    told = found.held_by
                    say(_waited_for(found))
            # An event and not a sleep: it ends also where clocks are set.
            Event().wait(min(_ASK_EVERY_S, max(left_s, 0.0)))
    except BaseException:
        with suppress(SlipwayError):
            leases.leave(scope, holder)
        raise


@contextmanager
def kept_lease(
    leases: Leases, scope: str, holder: str, ttl_s: float, within_s: float, say: Callable[[str], None]
) -> Iterator[KeptLease]:
    """The lease is kept within the block, and free after it; waits for it as `await_lease`, whose arguments these are.

    Raises:
        Refused: the time is over, and somebody else has it.
        Retryable: the ledger does not answer.
    """
    kept = KeptLease(leases, await_lease(leases, scope, holder, ttl_s, within_s, say), ttl_s, say)
    try:
        yield kept
    finally:
        kept.give_up()


def _now_s() -> float:
    """Return seconds that go on while the machine sleeps, and that nobody can set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _waited_for(waiting: Waiting) -> str:
    held = f"has it for another {show_duration(waiting.left_s)} at least" if waiting.left_s > 0 else "is next"
    ahead = f", {waiting.ahead} waiting before this run" if waiting.ahead else ""
    return f"waiting for the lease on {waiting.scope}: {waiting.held_by} {held}{ahead}"


def _taken(waiting: Waiting, within_s: float) -> Refused:
    waited = f" after {show_duration(within_s)} of waiting" if within_s > 0 else ""
    return Refused(
        f"{waiting.held_by} may change {waiting.scope}, this run may not{waited}",
        on=waiting.scope,
        next_action=f"let {waiting.held_by} end ('slipway releases list' shows it), then start this run again",
        facts={"lease expires in": show_duration(max(waiting.left_s, 0.0)), "waiting before this run": waiting.ahead},
    )
