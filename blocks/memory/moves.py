"""What is on record of moves between sites, forgotten when the process ends."""

from collections.abc import Sequence
from threading import Lock

from blocks.moves import kept_move_note, of_one_move_run
from tasks.common.moves import MoveNote


class MemoryMoves:
    """Implements `Moves`. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._notes: dict[tuple[str, str], MoveNote] = {}

    def note(self, note: MoveNote) -> None:
        """It is kept. *Idempotent:* yes, by its run and kind; the first one stands."""
        kept = kept_move_note(note)
        with self._lock:
            self._notes.setdefault((kept.run_id, kept.kind), kept)

    def notes(self, run_id: str) -> Sequence[MoveNote]:
        """Return what is on record of a run, in order; the beginning of its id is enough."""
        with self._lock:
            found = [each for each in self._notes.values() if each.run_id.startswith(run_id)]
        return of_one_move_run(run_id, found)

    def history(self, failover: str, limit: int) -> Sequence[MoveNote]:
        """Return all notes of the latest moves of a failover, in order."""
        with self._lock:
            own = [each for each in self._notes.values() if each.failover == failover]
        latest = list(dict.fromkeys(each.move_id for each in reversed(own)))[:limit]
        return [each for each in own if each.move_id in latest]
