"""pg_basebackup, as it is challenged."""

import re
from pathlib import Path

from blocks.backups.basebackup import BaseBackupEngine
from blocks.challenges.folders import FolderSubject, stored_file
from blocks.context import Context
from tasks.challenge.model import Part, Served, StoredFile
from tasks.common.backups import StoredBackup

_SEGMENT = re.compile(r"[0-9A-F]{24}")


class BaseBackupSubject(FolderSubject):
    """Implements `Subject`.

    Args:
        settings: of the plan's engine.
        context: of the estate.
    """

    Settings = BaseBackupEngine.Settings

    def __init__(self, settings: BaseBackupEngine.Settings, context: Context) -> None:
        super().__init__(settings.repositories, context)
        self._settings, self._context = settings, context

    def files(self, repository: Path, home: Path, stored: StoredBackup) -> tuple[StoredFile, ...]:
        """Return all files of the cluster, and the WAL that makes it consistent."""
        del home
        data = repository / stored.label / "data"
        found = [path for path in sorted(data.rglob("*")) if path.is_file()]
        wal = data / "pg_wal"
        return tuple(
            stored_file(path, repository, Part.WAL if path.parent == wal else Part.CONTENT)
            for path in found
            if path.parent != wal or _SEGMENT.fullmatch(path.name)
        )

    def on_copy(self, repository: Path, home: Path) -> BaseBackupEngine:
        """Return the engine over a copy."""
        del home
        return self._with(repository)

    def of_source(self, repository: Path, home: Path, served: Served) -> BaseBackupEngine:
        """Return the engine that backs a throw-away server up."""
        del home
        there = {"host": str(served.sockets), "port": served.port, "role": served.superuser, "password": None}
        return self._with(repository, **there)

    def _with(self, repository: Path, **settings: object) -> BaseBackupEngine:
        changed = {"repositories": [str(repository)], "max_rate": None, **settings}
        return BaseBackupEngine(self._settings.model_copy(update=changed), self._context)
