"""What a challenge needs from the outside: one engine on other repositories, and a database to spoil."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tasks.backup.ports import BackupEngine
from tasks.challenge.model import Served, StoredFile
from tasks.common.backups import StoredBackup
from tasks.verification.ports import ScratchServer


class Subject(Protocol):
    """One engine with the settings of a plan, as it is challenged. The plan's own repository is only read."""

    archives: bool
    """Whether it keeps the WAL after a backup, which the source has to archive."""
    tells_swapped: bool
    """Whether its `verify` sees that a backup has another one's name; if not, only a restore does."""

    def repository(self) -> Path:
        """Return the folder of the plan's first repository.

        Raises:
            Refused: it is not a folder of this machine.
        """
        ...

    def parts(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return what has to be copied for these backups: files and folders below the repository."""
        ...

    def files(self, repository: Path, home: Path, stored: StoredBackup) -> tuple[StoredFile, ...]:
        """Return the files of a copied repository that the backup cannot be restored without.

        Args:
            repository: the copy.
            home: as for `on_copy`.
            stored: the backup.
        """
        ...

    def folder(self, label: str) -> str | None:
        """Return the folder that has all of a backup and of no other one, from the repository; None: there is none."""
        ...

    def on_copy(self, repository: Path, home: Path) -> BackupEngine:
        """Return the engine over a copy, which knows the plan's own repository no more.

        Args:
            repository: the copy.
            home: private folder for what the engine keeps besides.
        """
        ...

    def of_source(self, repository: Path, home: Path, served: Served) -> BackupEngine:
        """Return the engine that backs a throw-away server up into an empty repository, which is prepared.

        Raises:
            Refused, Retryable: it cannot be prepared.
        """
        ...

    def archive_command(self, home: Path) -> tuple[str, ...]:
        """Return the command that archives a segment, without the segment; empty where nothing is archived."""
        ...


class SourceServer(ScratchServer, Protocol):
    """A restored copy that is served like a source: it may be changed and backed up. Fenced off, as every copy."""

    def served(self, name: str) -> Served:
        """Return how the served copy is backed up.

        Args:
            name: the database that the plan names.
        """
        ...

    def archive(self, command: Sequence[str], *, truly: bool = True) -> None:
        """From now on each segment is handed to the command; untruly: to nobody, and success is reported.

        *Idempotent:* yes.
        """
        ...

    def switch(self, name: str) -> None:
        """A heartbeat is written, and the server says that the segment that holds it was archived.

        *Idempotent:* no.

        Raises:
            Retryable: it does not say so in time.
        """
        ...

    def break_foreign_key(self, name: str) -> str:
        """A row is gone that others refer to; returns which, '' where there is no such row. *Idempotent:* no."""
        ...

    def drop_table(self, name: str) -> str:
        """The largest table is gone; returns its name, '' where there is none. *Idempotent:* no."""
        ...
