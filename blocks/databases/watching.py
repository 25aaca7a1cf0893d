"""Looks at a source while a backup of it is taken: beside it, so that the backup does not wait."""

import threading
import time
from datetime import UTC, datetime
from typing import Protocol

from tasks.common.errors import Retryable, SlipwayError
from tasks.common.source_facts import DatabaseFacts, SourceFacts

COUNT_WITHIN_S = 10.0
"""Tables are counted for no longer than that; the largest come last."""
_PATIENCE_S = 5.0
"""Beyond that time an answer is not waited for."""


class Observed(Protocol):
    """What is looked at."""

    def facts(self, count_within_s: float | None = None) -> DatabaseFacts:
        """Return what is in it."""
        ...


class SourceWatch:
    """A look at a source that begins now, in a thread of its own.

    Each table is counted in a statement of its own, without a snapshot that is kept: nothing is locked for long, and
    nothing held back.

    Args:
        database: the source.
        count_within_s: tables are counted for no longer.
    """

    def __init__(self, database: Observed, count_within_s: float = COUNT_WITHIN_S) -> None:
        self._database = database
        self._count_within_s = count_within_s
        self._at = datetime.now(UTC)
        self._began_s = time.monotonic()
        self._found: DatabaseFacts | None = None
        self._failed: SlipwayError | None = None
        self._thread = threading.Thread(target=self._look, name="source of a backup", daemon=True)
        self._thread.start()

    def end(self) -> SourceFacts:
        """Return what the source was from the beginning of the look until now.

        Raises:
            SlipwayError: it has not answered, or not in its time.
        """
        left_s = self._count_within_s + _PATIENCE_S - (time.monotonic() - self._began_s)
        self._thread.join(max(left_s, 0.0))
        if self._failed is not None:
            raise self._failed
        if self._found is None:
            raise Retryable(
                "the source is not looked at in time",
                on="the source of the backup",
                next_action="check that its server runs, that it can be reached from here, and its load",
            )
        now = self._database.facts(count_within_s=0)
        return SourceFacts(self._at, self._found, steady=now.objects == self._found.objects)

    def _look(self) -> None:
        try:
            self._found = self._database.facts(self._count_within_s)
        except SlipwayError as error:
            self._failed = error
