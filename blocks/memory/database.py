"""A database in memory, for tests and dry runs."""

from datetime import UTC, datetime, timedelta

from blocks.context import Context
from tasks.common.errors import Retryable
from tasks.common.model import StrictModel
from tasks.common.wal import WalHeld
from tasks.verification.fingerprint import fingerprint
from tasks.verification.model import DatabaseFacts, Moment, Orphans, SequenceState

_KEPT = timedelta(hours=1)


class MemoryDatabase:
    """Implements `Database` with what it was told of. `down` says whether it keeps silent."""

    class Settings(StrictModel):
        """There is nothing to set here; its attributes say what is in it."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings, context
        self.down = False
        self.checksums = True
        self.tables: dict[str, int] = {}
        self.states: list[SequenceState] = []
        self.keys: list[Orphans] = []
        self.beats: list[datetime] = []
        self.held = WalHeld(usual_bytes=2**30)

    def moment(self) -> Moment:
        """Return where it is now. *Idempotent:* yes."""
        self._answer()
        return Moment(datetime.now(UTC), "0/0")

    def facts(self, count_within_s: float | None = None) -> DatabaseFacts:
        """Return what is in it; without time nothing is counted. *Idempotent:* yes."""
        self._answer()
        objects = fingerprint(("table", name, "") for name in self.tables)
        rows = {name: None if count_within_s == 0 else count for name, count in self.tables.items()}
        return DatabaseFacts("memory", "0", 0, self.checksums, {}, objects, rows)

    def sequences(self) -> tuple[SequenceState, ...]:
        """Return every sequence that a column takes its values from. *Idempotent:* yes."""
        self._answer()
        return tuple(self.states)

    def orphans(self) -> tuple[Orphans, ...]:
        """Return every foreign key, with the rows that it forbids. *Idempotent:* yes."""
        self._answer()
        return tuple(self.keys)

    def heartbeat(self) -> datetime | None:
        """Return the newest heartbeat; None where there is none. *Idempotent:* yes."""
        self._answer()
        return max(self.beats, default=None)

    def wal(self) -> WalHeld:
        """Return what keeps it from removing WAL. *Idempotent:* yes."""
        self._answer()
        return self.held

    def beat(self) -> datetime:
        """A heartbeat is in it, and those older than an hour are gone; returns it. *Idempotent:* no."""
        self._answer()
        at = datetime.now(UTC)
        self.beats = [each for each in self.beats if at - each < _KEPT] + [at]
        return at

    def _answer(self) -> None:
        if self.down:
            raise Retryable("the database does not answer", on="memory", next_action="set 'down' to False")
