"""Engines that keep each backup in a folder of its own, named by its label; and what all subjects share."""

from collections.abc import Sequence
from pathlib import Path

from blocks.context import Context
from tasks.challenge.model import Part, Served, StoredFile
from tasks.common.backups import FIRST
from tasks.common.errors import Refused


class FolderSubject:
    """What they have in common.

    Args:
        repositories: as the settings name them.
        context: resolves paths.
    """

    archives = False
    tells_swapped = True

    def __init__(self, repositories: Sequence[str], context: Context) -> None:
        self._first = context.resolve(repositories[FIRST - 1])

    def repository(self) -> Path:
        """Return the folder of the plan's first repository."""
        return self._first

    def parts(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the backups' own folders."""
        return tuple(labels)

    def folder(self, label: str) -> str | None:
        """Return the backup's own folder."""
        return label

    def archive_command(self, home: Path) -> tuple[str, ...]:
        """Return nothing: no WAL is archived."""
        del home
        return ()


def stored_file(path: Path, repository: Path, part: Part = Part.CONTENT) -> StoredFile:
    """Return a file of a repository."""
    return StoredFile(str(path.relative_to(repository)), path.stat().st_size, part)


def no_source(served: Served, engine: str) -> Refused:
    """Return the error for an engine that is to back up what is no source for it."""
    return Refused(
        f"a server of PostgreSQL is no source for {engine}",
        on=str(served.sockets),
        next_action="report this: a plan whose copies are databases has an engine that backs up none",
    )
