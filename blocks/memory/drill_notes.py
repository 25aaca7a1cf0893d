"""What is on record of drills, forgotten when the process ends."""

from collections.abc import Sequence
from threading import Lock

from blocks.drills.notes import kept_note, of_one_run
from tasks.common.drill_notes import ENDED, DrillNote


class MemoryDrillNotes:
    """Implements `DrillNotes`. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._notes: dict[tuple[str, str, int], DrillNote] = {}

    def note(self, note: DrillNote) -> None:
        """It is kept. *Idempotent:* yes, by its run, kind and number; the first one stands."""
        kept = kept_note(note)
        with self._lock:
            self._notes.setdefault((kept.run_id, kept.kind, kept.number), kept)

    def notes(self, run_id: str) -> Sequence[DrillNote]:
        """Return what is on record of a run, in order; the beginning of its id is enough."""
        with self._lock:
            found = [each for each in self._notes.values() if each.run_id.startswith(run_id)]
        return of_one_run(run_id, found)

    def ended(self, drill: str | None, limit: int) -> Sequence[DrillNote]:
        """Return the ends of the latest drills, newest first."""
        with self._lock:
            found = [each for each in self._notes.values() if each.kind == ENDED and drill in (None, each.drill)]
        return found[::-1][:limit]
