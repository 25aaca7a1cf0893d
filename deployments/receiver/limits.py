"""How much of what is sent is looked at: each source has a bound of its own, so that none can hold up another."""

import math
import time
from collections.abc import Callable, Mapping

from tasks.common.webhooks import WebhookSource

OTHERS_PER_SECOND, OTHERS_BURST = 5.0, 20
"""For all the names together that the estate file does not have: they only cost time."""


class Bucket:
    """Lets so many through a second, and so many at once; for one thread.

    Args:
        per_second: on average.
        burst: at once.
        clock: returns seconds, never less than before.
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left, self._at_s = burst, clock()

    def take(self) -> float:
        """Return 0 where one more may go through, else the seconds after which the next one may."""
        now_s = self._clock()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_second)
        self._at_s = now_s
        if self._left < 1:
            return (1 - self._left) / self._per_second
        self._left -= 1
        return 0.0


class Limits:
    """The bounds of a receiver; for one thread.

    Args:
        sources: by the name that stands in the address.
        clock: returns seconds, never less than before.
    """

    def __init__(self, sources: Mapping[str, WebhookSource], clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = {name: Bucket(each.per_second, each.burst, clock) for name, each in sources.items()}
        self._others = Bucket(OTHERS_PER_SECOND, OTHERS_BURST, clock)

    def take(self, source: str) -> int:
        """Return 0 where a request may go on, else the whole seconds after which the source may send again."""
        return math.ceil(self._buckets.get(source, self._others).take())
