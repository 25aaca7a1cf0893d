"""Logical backups of one PostgreSQL database: pg_dump's folder format, each of its files encrypted with age."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from blocks.backups.sealed import Dumped, SealedEngine, SealedSettings
from blocks.backups.source_database import Look, SourceDatabase
from blocks.context import Context
from tasks.common.backups import Form, OnProgress, Progress
from tasks.common.secrets import SecretRef

_INSTALL = "apt-get install postgresql-client"
# Behind somebody's exclusive lock a dump would keep its snapshot, and with it all dead rows, for as long as that lasts.
_LOCK_WAIT = "60s"
_TABLE = re.compile(r'dumping contents of table "(.+)"')
_MATTERS = re.compile(r"\b(?:warning|error|fatal):", re.IGNORECASE)

_log = logging.getLogger(__name__)


class PgDumpEngine(SealedEngine):
    """Dumps one database with all that is in it; roles and other databases of the server are not part of it.

    Args:
        settings: which database, where to and for whom.
        context: resolves secrets and paths.
    """

    class Settings(SealedSettings):
        """Settings of the driver `pg_dump`."""

        database: SecretRef = Field(description="reference to the address of the database, with a role that reads all")
        jobs: int = Field(default=2, ge=1, le=64, description="tables that are dumped at a time; each needs a session")

    form = Form.DUMP
    name = "pg_dump"

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._jobs = settings.jobs
        self._database = SourceDatabase(settings.database, context.secrets)

    def _versions(self) -> dict[str, str]:
        return {"pg_dump": self._programs.version(["pg_dump", "--version"], _INSTALL)}

    def _ask_source(self) -> None:
        self._database.look()

    def _dump(self, into: Path, on_progress: OnProgress) -> Dumped:
        look = self._database.look()
        address, environment = self._database.for_programs()
        on_progress(Progress(0, look.size_bytes))
        done = self._programs.run(
            [
                "pg_dump",
                "--format=directory",
                f"--jobs={self._jobs}",
                f"--file={into}",
                # The files are read at once and then removed; those that stay are on the disk before they count.
                "--no-sync",
                "--no-password",
                f"--lock-wait-timeout={_LOCK_WAIT}",
                "--verbose",
                f"--dbname={address}",
            ],
            env=environment,
            on_line=_reporter(look, self._jobs, on_progress),
        )
        if done.exit_code != 0:
            ended = f"pg_dump ended with exit code {done.exit_code}"
            raise self._database.meaning("\n".join([*filter(_MATTERS.search, done.tail), ended]))
        return Dumped(look.name, look.version, look.size_bytes)


def _reporter(look: Look, jobs: int, on_progress: OnProgress) -> Callable[[str], None]:
    """Return what reads pg_dump's lines: so many tables are begun, and all of them but one a job are done."""
    begun: list[int] = []

    def read(line: str) -> None:
        if _MATTERS.search(line):
            _log.warning(line)
        else:
            _log.debug(line)
        table = _TABLE.search(line)
        if table is not None:
            begun.append(look.tables.get(table[1], 0))
            # In the order of pg_dump, which is that of their sizes, the largest first.
            done = max(0, sum(begun) - sum(begun[-jobs:]))
            on_progress(Progress(min(done, look.size_bytes), look.size_bytes))

    return read
