"""restic, as it is challenged."""

from collections.abc import Sequence
from pathlib import Path

from blocks.backups.restic import ResticEngine
from blocks.challenges.folders import no_source, stored_file
from blocks.context import Context
from tasks.challenge.model import Served, StoredFile
from tasks.common.backups import FIRST, StoredBackup
from tasks.common.errors import Refused

_PARTS = ("config", "data", "index", "keys", "snapshots")
"""Of a repository, without its locks. *Source:* restic's design document, repository layout."""


class ResticSubject:
    """Implements `Subject` for a first repository in a folder of this machine; it is only read where it lies.

    Args:
        settings: of the plan's engine.
        context: of the estate.
    """

    Settings = ResticEngine.Settings
    archives = False
    tells_swapped = True

    def __init__(self, settings: ResticEngine.Settings, context: Context) -> None:
        self._settings, self._context = settings, context

    def repository(self) -> Path:
        """Return the folder of the plan's first repository.

        Raises:
            Refused: it is none.
        """
        folder = self._context.resolve(self._settings.repositories[FIRST - 1])
        if not (folder / "config").is_file():
            raise Refused(
                "the first repository is no folder of this machine, and only such a one is challenged",
                on="restic",
                next_action="challenge a plan of the same engine whose first repository is a folder",
            )
        return folder

    def parts(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return all of it: backups share what they hold."""
        del labels
        return _PARTS

    def files(self, repository: Path, home: Path, stored: StoredBackup) -> tuple[StoredFile, ...]:
        """Return the packs."""
        del home, stored
        packs = (path for path in sorted((repository / "data").rglob("*")) if path.is_file())
        return tuple(stored_file(path, repository) for path in packs)

    def folder(self, label: str) -> str | None:
        """Return nothing: backups share what they hold."""
        del label
        return None

    def on_copy(self, repository: Path, home: Path) -> ResticEngine:
        """Return the engine over a copy."""
        del home
        changed = {"repositories": [str(repository)]}
        return ResticEngine(self._settings.model_copy(update=changed), self._context)

    def of_source(self, repository: Path, home: Path, served: Served) -> ResticEngine:
        """Refuse.

        Raises:
            Refused: always.
        """
        del repository, home
        raise no_source(served, "restic")

    def archive_command(self, home: Path) -> tuple[str, ...]:
        """Return nothing: no WAL is archived."""
        del home
        return ()
