"""What is on record of restores, forgotten when the process ends."""

from collections.abc import Sequence
from threading import Lock

from blocks.restores import kept_note, of_one_run
from tasks.common.restores import RestoreNote


class MemoryRestores:
    """Implements `Restores`. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._notes: dict[tuple[str, str], RestoreNote] = {}

    def note(self, note: RestoreNote) -> None:
        """It is kept. *Idempotent:* yes, by its run and kind; the first one stands."""
        kept = kept_note(note)
        with self._lock:
            self._notes.setdefault((kept.run_id, kept.kind), kept)

    def notes(self, run_id: str) -> Sequence[RestoreNote]:
        """Return what is on record of a run, in order; the beginning of its id is enough."""
        with self._lock:
            found = [each for each in self._notes.values() if each.run_id.startswith(run_id)]
        return of_one_run(run_id, found)
