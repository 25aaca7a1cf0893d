"""pgBackRest, as it is challenged."""

from collections.abc import Sequence
from pathlib import Path

from blocks.backups import pgbackrest_settings
from blocks.backups.pgbackrest import PgBackRestEngine
from blocks.challenges.folders import stored_file
from blocks.challenges.workplace import copy_tree
from blocks.context import Context
from blocks.files import system_errors
from tasks.challenge.model import Part, Served, StoredFile
from tasks.common.backups import FIRST, StoredBackup
from tasks.common.errors import Refused


class PgBackRestSubject:
    """Implements `Subject` for a first repository in a folder of this machine.

    Args:
        settings: of the plan's engine.
        context: of the estate.
    """

    Settings = pgbackrest_settings.Settings
    archives = True
    # It verifies the files that the manifest names, whichever folder that is in (tried with 2.45).
    tells_swapped = False

    def __init__(self, settings: pgbackrest_settings.Settings, context: Context) -> None:
        self._settings, self._context = settings, context
        self._first = settings.repositories[FIRST - 1]

    def repository(self) -> Path:
        """Return the folder of the plan's first repository.

        Raises:
            Refused: it is in a bucket.
        """
        if self._first.s3 is not None:
            raise Refused(
                "the first repository is in a bucket, and only one in a folder of this machine is challenged",
                on=f"pgBackRest's stanza {self._settings.stanza}",
                next_action="challenge a plan of the same engine whose first repository is a folder",
            )
        return self._context.resolve(self._first.path)

    def parts(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return all that the stanza has: its lists name every backup."""
        del labels
        return (f"archive/{self._settings.stanza}", f"backup/{self._settings.stanza}")

    def files(self, repository: Path, home: Path, stored: StoredBackup) -> tuple[StoredFile, ...]:
        """Return the backup's own files of the cluster, and the WAL that makes it consistent."""
        folder = repository / str(self.folder(stored.label))
        # Of the two manifests one stands in for the other.
        content = [path for top in ("pg_data", "bundle") for path in sorted((folder / top).rglob("*"))]
        archive = repository / "archive" / self._settings.stanza
        names = self.on_copy(repository, home).wal_of(stored.label)
        wal = [path for name in names for path in sorted(archive.rglob(f"{name}-*"))]
        return (
            *(stored_file(path, repository) for path in content if path.is_file() and not path.is_symlink()),
            *(stored_file(path, repository, Part.WAL) for path in wal),
        )

    def folder(self, label: str) -> str | None:
        """Return the backup's own folder."""
        return f"backup/{self._settings.stanza}/{label}"

    def on_copy(self, repository: Path, home: Path) -> PgBackRestEngine:
        """Return the engine over a copy, with configuration, locks and what it knows of the source in the home."""
        known = self._context.resolve(self._settings.folder) / "known"
        with system_errors("what is known of the source cannot be copied", known):
            if known.is_dir() and not (home / "known").exists():
                copy_tree(known, home / "known")
        return self._with(repository, home)

    def of_source(self, repository: Path, home: Path, served: Served) -> PgBackRestEngine:
        """Return the engine that backs a throw-away server up; WAL can arrive."""
        there = {"data": str(served.data), "socket_dir": str(served.sockets), "port": served.port}
        engine = self._with(repository, home, **there, role=served.superuser, password=None)
        engine.prepare()
        return engine

    def archive_command(self, home: Path) -> tuple[str, ...]:
        """Return the command that hands a segment to the engine of this home."""
        return "pgbackrest", f"--config={home}/pgbackrest.conf", f"--stanza={self._settings.stanza}", "archive-push"

    def _with(self, repository: Path, home: Path, **settings: object) -> PgBackRestEngine:
        copied = self._first.model_copy(update={"path": str(repository)})
        changed = {"repositories": [copied], "folder": str(home), **settings}
        return PgBackRestEngine(self._settings.model_copy(update=changed), self._context)
