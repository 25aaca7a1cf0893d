"""Engines whose backups are sealed with age, as they are challenged."""

from pathlib import Path

from blocks.backups.manifest import SEALED_SUFFIX
from blocks.backups.pg_dump import PgDumpEngine
from blocks.backups.redis_snapshot import RedisEngine
from blocks.challenges.folders import FolderSubject, no_source, stored_file
from blocks.context import Context
from tasks.challenge.model import Served, StoredFile
from tasks.common.backups import StoredBackup


class PgDumpSubject(FolderSubject):
    """Implements `Subject`.

    Args:
        settings: of the plan's engine.
        context: of the estate.
    """

    Settings = PgDumpEngine.Settings

    def __init__(self, settings: PgDumpEngine.Settings, context: Context) -> None:
        super().__init__(settings.repositories, context)
        self._settings, self._context = settings, context

    def files(self, repository: Path, home: Path, stored: StoredBackup) -> tuple[StoredFile, ...]:
        """Return the sealed files."""
        del home
        return _sealed_files(repository, stored)

    def on_copy(self, repository: Path, home: Path) -> PgDumpEngine:
        """Return the engine over a copy."""
        del home
        changed = {"repositories": [str(repository)]}
        return PgDumpEngine(self._settings.model_copy(update=changed), self._context)

    def of_source(self, repository: Path, home: Path, served: Served) -> PgDumpEngine:
        """Return the engine that dumps the database of a throw-away server."""
        del home
        changed = {"repositories": [str(repository)], "database": f"file:{served.address}"}
        return PgDumpEngine(self._settings.model_copy(update=changed), self._context)


class RedisSubject(FolderSubject):
    """Implements `Subject` for what is only read where it lies.

    Args:
        settings: of the plan's engine.
        context: of the estate.
    """

    Settings = RedisEngine.Settings

    def __init__(self, settings: RedisEngine.Settings, context: Context) -> None:
        super().__init__(settings.repositories, context)
        self._settings, self._context = settings, context

    def files(self, repository: Path, home: Path, stored: StoredBackup) -> tuple[StoredFile, ...]:
        """Return the sealed files."""
        del home
        return _sealed_files(repository, stored)

    def on_copy(self, repository: Path, home: Path) -> RedisEngine:
        """Return the engine over a copy."""
        del home
        changed = {"repositories": [str(repository)]}
        return RedisEngine(self._settings.model_copy(update=changed), self._context)

    def of_source(self, repository: Path, home: Path, served: Served) -> RedisEngine:
        """Refuse.

        Raises:
            Refused: always.
        """
        del repository, home
        raise no_source(served, "Redis")


def _sealed_files(repository: Path, stored: StoredBackup) -> tuple[StoredFile, ...]:
    found = sorted((repository / stored.label).glob(f"*{SEALED_SUFFIX}"))
    return tuple(stored_file(path, repository) for path in found)
