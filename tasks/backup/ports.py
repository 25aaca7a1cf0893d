"""What backups need from the outside: an engine that takes, keeps and gives back those of one thing."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tasks.common.backups import FIRST, Abilities, BackupKind, Form, OnProgress, RestoreTo, StoredBackup


class BackupEngine(Protocol):
    """Backs one thing up into one or two repositories.

    What the engine's programs print goes to the log, redacted; passwords and keys never reach argument lists. A method
    that was killed half way can be called again. Who calls sees to it that nobody else changes the same repository
    (a lease); an engine that has a lock of its own says so by Retryable when it is taken.
    """

    form: Form
    """What `restore` puts into a folder."""

    def abilities(self) -> Abilities:
        """Return what can be done here: the programs are asked for their versions.

        Raises:
            Refused: a program is missing or too old; which one, and how it is installed.
        """
        ...

    def check(self, repository: int = FIRST, *, wal: bool = True) -> None:
        """A backup could be taken into the repository now, as far as can be told without beginning one.

        Args:
            repository: which one.
            wal: have the source finish a segment of WAL, and wait for it in the repository; its own counters are not
                trusted. Without it an engine may leave to `take` what that looks at before it copies anything.

        Raises:
            Refused: wrong credentials or key, something is not set up, or WAL does not arrive; all that is wrong.
            Retryable: the source or the repository does not answer.
        """
        ...

    def take(self, kind: BackupKind, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """A new backup is complete in the repository; returns it.

        *Idempotent:* no: each call takes one. What an interrupted call has left is resumed or removed first.

        Raises:
            Refused: the engine cannot take this kind, there is nothing that it can start from, or as for
                `check`, WAL included.
            Retryable: the source, the repository or the network failed on the way; nothing is called a backup.
        """
        ...

    def copy(self, label: str, on_progress: OnProgress) -> StoredBackup:
        """The second repository has this backup, or one that is as new; returns what is there.

        *Idempotent:* yes.

        Raises:
            Refused: no such backup, or no second repository.
            Retryable: a repository failed on the way.
        """
        ...

    def stored(self, repository: int = FIRST) -> tuple[StoredBackup, ...]:
        """Return the complete backups of a repository, oldest first; interrupted ones are not among them.

        Raises:
            Retryable: the repository does not answer.
            Refused: it cannot be read with these credentials or this key, or is no repository.
        """
        ...

    def verify(self, label: str, repository: int = FIRST) -> tuple[str, ...]:
        """Return what is wrong with a backup where it lies, one sentence each; none if every byte is as it was written.

        With what it needs: the backups that it builds on, and the WAL that makes it consistent. Nothing is restored.

        Raises:
            Refused: no such backup, or as for `stored`.
            Retryable: the repository does not answer.
        """
        ...

    def restore(self, to: RestoreTo, into: Path, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """The folder holds the state that is asked for, in the engine's form; returns the backup that it started from.

        A restored cluster has never been started: it replays WAL up to the point that was asked for when it is, and has
        nothing that would archive or reach another server. The folder is for the engine's user alone.

        *Idempotent:* yes; what an interrupted call has left there is replaced. A folder that holds anything else is
        refused.

        Raises:
            Refused: no backup reaches the point in time (the reachable range is named), no such backup, the folder is
                not empty, or as for `stored`.
            Unsafe: what is stored is damaged: it cannot be restored.
            Retryable: the repository failed on the way, or the disk is full.
        """
        ...

    def reaches(self, repository: int = FIRST) -> datetime | None:
        """Return the newest moment that can be restored, by what lies in the repository; None if there is nothing.

        Raises:
            Retryable, Refused: as for `stored`.
        """
        ...

    def expire(self, labels: Sequence[str], repository: int = FIRST) -> None:
        """These backups are gone, and WAL that no backup needs any more.

        *Idempotent:* yes; what is gone already is left out.

        Raises:
            Refused: another backup, which is to stay, needs one of them; nothing was removed.
            Retryable: the repository failed on the way; what is gone is not listed any more.
        """
        ...

    def clean(self, repository: int = FIRST) -> tuple[str, ...]:
        """Nothing is left there of interrupted work; returns what was removed, one sentence each. *Idempotent:* yes."""
        ...
