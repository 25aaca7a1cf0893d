"""A throw-away PostgreSQL server that backups are taken of."""

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from blocks.challenges.spoiling import break_largest_foreign_key, drop_largest_table
from blocks.files import replacing, system_errors
from blocks.scratch.postgresql import PostgresqlScratch
from blocks.scratch.private import PORT
from tasks.challenge.model import Served
from tasks.common.errors import Refused, Retryable

_ARCHIVED_WITHIN_S = 120.0
_TICK_S = 0.05
# pgBackRest looks for its name in archive_command.
_ARCHIVER = "pgbackrest-archive"
_AS_SOURCE = {"max_wal_senders": "4", "wal_level": "replica"}


class PostgresqlSource(PostgresqlScratch):
    """Implements `SourceServer`: once it is consistent it serves like a source, and is fenced off as before."""

    def served(self, name: str) -> Served:
        """Return how the served copy is backed up."""
        file = self._folder / "address"
        with system_errors("the address of a throw-away server cannot be written", file):
            file.write_text(self.address(name))
        return Served(self._folder, int(PORT), self._settings.superuser, self._data, file)

    def archive(self, command: Sequence[str], *, truly: bool = True) -> None:
        """From now on each segment is handed to the command; untruly: to nobody, and success is reported."""
        told = f'exec {shlex.join(command)} "$1"' if truly and command else "exit 0"
        script = self._folder / _ARCHIVER
        with system_errors("the archive command cannot be written", script), replacing(script, mode=0o755) as file:
            file.write(f"#!/bin/sh\n{told}\n".encode())

    def switch(self, name: str) -> None:
        """A heartbeat is written, and the server says that the segment that holds it was archived."""
        self.database(name).beat()
        with psycopg.connect(self.address(name), autocommit=True) as session:
            row = session.execute("select pg_walfile_name(pg_switch_wal())").fetchone()
            assert row is not None
            deadline = time.monotonic() + _ARCHIVED_WITHIN_S
            while not self._claims(session, row[0]):
                if time.monotonic() > deadline:
                    raise Retryable(
                        f"WAL of the throw-away server was not archived within {_ARCHIVED_WITHIN_S:g} s",
                        on=str(self._folder),
                        next_action="see by 'slipway backup take' whether the engine works here, then try again",
                    )
                time.sleep(_TICK_S)

    def break_foreign_key(self, name: str) -> str:
        """A row is gone that others refer to; returns which key is broken, '' where there is no such row."""
        with self._spoiling():
            return break_largest_foreign_key(self.address(name))

    def drop_table(self, name: str) -> str:
        """The largest table is gone; returns its name, '' where there is none."""
        with self._spoiling():
            return drop_largest_table(self.address(name))

    def _options(self, *, fenced: bool) -> dict[str, str]:
        options = super()._options(fenced=fenced)
        if not self._consistent:
            return options
        if not (self._folder / _ARCHIVER).exists():
            return {**options, **_AS_SOURCE}
        command = f"{shlex.quote(str(self._folder / _ARCHIVER))} %p"
        return {**options, **_AS_SOURCE, "archive_mode": "on", "archive_command": command}

    @staticmethod
    def _claims(session: psycopg.Connection, segment: str) -> bool:
        # By name: a segment comes before the next one, and before what is archived of a backup that begins in it.
        row = session.execute("select last_archived_wal from pg_stat_archiver").fetchone()
        return bool(row and row[0] and row[0] >= segment)

    @contextmanager
    def _spoiling(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            said = self._redact(error.diag.message_primary or str(error)).strip()
            raise Refused(
                f"the throw-away database cannot be spoiled: {said}",
                on=str(self._folder),
                next_action="report this: the challenge leaves this damage undecided",
            ) from None
