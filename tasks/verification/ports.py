"""What verification needs from the outside: a backup's repository, its source, and a server for the restored copy."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tasks.common.backups import Form, OnProgress, RestoreTo, StoredBackup
from tasks.common.wal import WalHeld
from tasks.verification.model import Checked, DatabaseFacts, Moment, Orphans, Replayed, SequenceState


class Engine(Protocol):
    """Gives back what it has stored."""

    form: Form
    """What `restore` puts into a folder."""

    def stored(self, repository: int = ...) -> tuple[StoredBackup, ...]:
        """Return the complete backups of a repository, oldest first."""
        ...

    def verify(self, label: str, repository: int = ...) -> tuple[str, ...]:
        """Return what is wrong with a backup where it lies, one sentence each."""
        ...

    def restore(self, to: RestoreTo, into: Path, on_progress: OnProgress, repository: int = ...) -> StoredBackup:
        """The folder holds the state that is asked for; returns the backup that it started from."""
        ...

    def reaches(self, repository: int = ...) -> datetime | None:
        """Return the newest moment that can be restored, by what lies in the repository."""
        ...


class Database(Protocol):
    """One database: a source, or a restored copy. It is only read, but for `beat`, and no call blocks it for long.

    Every method raises:
        Retryable: it does not answer, or not within its time.
        Refused: it does not let us in, or not do that.
        Unsafe: its files are damaged.
    """

    def moment(self) -> Moment:
        """Return where its server is now."""
        ...

    def facts(self, count_within_s: float | None = None) -> DatabaseFacts:
        """Return what is in it.

        Args:
            count_within_s: tables are counted for no longer than that; None for as long as a look may take.
        """
        ...

    def sequences(self) -> tuple[SequenceState, ...]:
        """Return every sequence that a column takes its values from."""
        ...

    def orphans(self) -> tuple[Orphans, ...]:
        """Return every foreign key that is in force, with the rows that it forbids (as a rule: 0)."""
        ...

    def heartbeat(self) -> datetime | None:
        """Return the newest heartbeat; None where there is none."""
        ...

    def wal(self) -> WalHeld:
        """Return what keeps its server from removing WAL."""
        ...

    def beat(self) -> datetime:
        """A heartbeat is in it, and those older than an hour are gone; returns it.

        *Idempotent:* no: each call adds a row.
        """
        ...


class ScratchServer(Protocol):
    """A throw-away server for one restored copy: fenced off, with no archiving, no replication, no work of its own.

    One for files, or for a snapshot, starts nothing: `replay` reads them, and what looks at databases is refused.

    `clean` and `open` come first, then a restore into the folder, then `replay`, `check_pages`, `serve`, the other
    looks, and `remove`. One object serves one copy at a time.
    """

    forms: frozenset[Form]
    """What may be restored into the folder."""

    def clean(self) -> tuple[str, ...]:
        """Nothing is left of verifications that were killed; returns what was removed, one sentence each.

        What a verification that is alive works with stays. *Idempotent:* yes.

        Raises:
            Unsafe: a server could not be ended.
        """
        ...

    def check(self, version: str = "") -> str:
        """A copy could be restored, started and looked at here; returns how it would be fenced off.

        *Idempotent:* yes; nothing is left.

        Args:
            version: of the server that backups are of: '15.18'; '' for any.

        Raises:
            Refused: a program is missing, or is not of this version, or there can be no folder.
        """
        ...

    def open(self) -> Path:
        """Return an empty folder to restore into; it is held by this process until `remove`, or its end.

        *Idempotent:* no: each call makes one.

        Raises:
            Refused: no server can run there.
        """
        ...

    def replay(self, form: Form) -> Replayed:
        """The copy is consistent: it has taken all its WAL, or was loaded; it has answered once and is stopped cleanly.

        *Idempotent:* no.

        Raises:
            Unsafe: it does not start, or cannot be loaded: what was restored is damaged or not complete.
            Refused: it cannot run here: another version, a form that is not known, or it would touch other files.
            Retryable: it was not ready in its time.
        """
        ...

    def check_pages(self) -> Checked:
        """Return which pages of the stopped copy are not as they were written.

        Raises:
            Refused: it is not stopped cleanly, or the program is missing or broken.
        """
        ...

    def serve(self) -> str:
        """The copy answers, fenced off; returns how. *Idempotent:* yes.

        Raises:
            Unsafe: it does not start.
        """
        ...

    def databases(self) -> Sequence[str]:
        """Return the names of the databases of the served copy, templates left out."""
        ...

    def database(self, name: str) -> Database:
        """Return one database of the served copy."""
        ...

    def address(self, name: str) -> str:
        """Return the address of one database of the served copy, which holds no password."""
        ...

    def check_structure(self) -> Checked:
        """Return where tables and indexes of the served copy do not fit together, in all databases."""
        ...

    def read_all(self) -> Checked:
        """Return which databases of the served copy cannot be read from the first to the last row."""
        ...

    def stop(self) -> None:
        """The copy is stopped cleanly. *Idempotent:* yes.

        Raises:
            Unsafe: it could not be ended.
        """
        ...

    def remove(self) -> None:
        """Nothing is left of the copy, its server and its folder. *Idempotent:* yes.

        Raises:
            Unsafe: the server could not be ended.
        """
        ...
