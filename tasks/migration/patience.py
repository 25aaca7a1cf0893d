"""Work that needs locks is tried again, with growing pauses, and not for ever. Pure: waiting comes from outside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tasks.common.errors import Retryable
from tasks.migration.catalogue import LongTransaction
from tasks.migration.locks import pause_s
from tasks.migration.model import Limits
from tasks.migration.ports import Contended

T = TypeVar("T")
OPEN_FOR_LONG = "open for long"


def open_for_long(found: Sequence[LongTransaction]) -> dict[str, str]:
    """Return who may be in the way of a lock, as a fact of an error; nothing where nobody is open for long."""
    told = [f"{each.who}, process {each.pid}, {each.state} for {each.seconds:.0f} s" for each in found]
    return {OPEN_FOR_LONG: "\n".join(told)} if told else {}


@dataclass(frozen=True)
class Patience:
    """How work that did not get its locks is tried again.

    Args:
        say: tells people of each try.
        wait: waits, in seconds.
        chance: gives a number from 0 to 1.
        blockers: who may be in the way, for the error.
    """

    say: Callable[[str], None]
    wait: Callable[[float], None]
    chance: Callable[[], float]
    blockers: Callable[[], Mapping[str, str]]

    def of(self, work: Callable[[], T], limits: Limits) -> T:
        """Return what is done once its locks are to be had.

        Raises:
            Retryable: they were not, in as many tries as there may be.
        """
        tries = 0
        while True:
            try:
                return work()
            except Contended as problem:
                tries += 1
                if tries >= limits.lock_tries:
                    raise Retryable(
                        f"a lock was not to be had in {tries} tries of {limits.lock_timeout_ms} ms",
                        on=problem.on,
                        state="nothing of this step was done; what was done before it stays, and is on record",
                        next_action="end what holds it (PostgreSQL: pg_stat_activity, the oldest xact_start; MongoDB: "
                        "$currentOp), then run this again",
                        facts={**problem.facts, **self.blockers()},
                    ) from problem
                self.say(f"{problem.on}: a lock was not to be had, try {tries} of {limits.lock_tries}")
                self.wait(pause_s(tries, self.chance()))
