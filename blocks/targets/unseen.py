"""A restored server while nobody may see it: it recovers, is looked at, and perhaps masked, behind a socket of ours."""

import shutil
import signal
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path

import psycopg
from psycopg import sql

from blocks import shell
from blocks.masking.copies import connected, mark_copy
from blocks.masking.masking import mask_copy
from blocks.postgresql import USERS, find_binaries
from blocks.scratch import private
from blocks.scratch.checking import Programs
from blocks.scratch.fence import fetches_wal, kernel_fence, require_inside
from blocks.scratch.rooms import room_problem
from blocks.targets.servers import end_servers
from blocks.targets.settings import Settings
from blocks.users import as_user, find_user, own
from tasks.common.errors import Refused, Unsafe
from tasks.common.masking import Masking
from tasks.common.units import show_duration
from tasks.restore.model import Journal, Recovered

_LOGS = ("log", "pg_log")
_RESET_WITHIN_S = 60.0
_STOP_WITHIN_S = 600.0
_DATABASES = "select datname from pg_database where datallowconn and not datistemplate order by 1"
_STATE = """
    select current_setting('server_version'), pg_is_in_recovery(), pg_last_xact_replay_timestamp()
    from pg_class limit 1"""
_OWN_TABLES = """
    select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'm', 'f') and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'"""
_JOBS = 2
# Others than the operating system's user of the server have no way in, until a person has given them a password.
_LETS_NOBODY_IN = ("--auth-local=peer", "--auth-host=scram-sha-256", "--data-checksums")
_NOT_IN_A_DUMP = (
    "roles, passwords, owners, rights and settings of the server are not in a dump: all that came back belongs to the "
    "superuser, and nobody has a password. Create the roles (pg_dumpall --globals-only, from the source), grant them "
    "what they need, then let them in by pg_hba.conf",
    "it is a new cluster with settings of its own: it archives nothing, and no backup but a new one is of it",
    "statistics are not in a dump: 'vacuumdb --all --analyze-in-stages' before it gets load",
)
_PARTLY = "the copy is of no use, and nobody can reach it"


class Unseen:
    """A server that only we reach, on the data folder of a target.

    Args:
        settings: of the target.
        data: its folder.
        room: folder for the socket; it is closed to others.
        redact: takes the secrets out of a text.
    """

    def __init__(self, settings: Settings, data: Path, room: Path, redact: Callable[[str], str]) -> None:
        self._settings, self._data, self._room, self._redact = settings, data, room, redact

    @property
    def problem(self) -> str:
        """Return why no server can run here; '' if one can."""
        return room_problem(self._room)

    def address(self, database: str) -> str:
        """Return the address of a database, which holds no password."""
        return private.address_in(self._room, self._settings.superuser, database)

    def recover(self) -> Recovered:
        """The server has come to the end of its recovery, and answers us.

        Raises:
            Unsafe: it does not start, or does not reach what was asked for.
            Retryable: it was not ready in its time.
        """
        require_inside(self._data)
        private.recovers_by_itself(self._data)
        private.require_owner(self._data)
        # Its WAL may come over the network. Nobody can connect meanwhile, and no code of a user's runs.
        fenced = not fetches_wal(self._data)
        self._start(fenced=fenced)
        version, recovering, replayed_at = self._ask()
        if recovering:
            raise Unsafe(
                "the restored server answers, and has not come to the end of its recovery",
                on=str(self._data),
                state="it can be reached by nobody but us",
                next_action="report this, with the engine's version",
            )
        fence = self._fence[1] if fenced else "it fetches WAL, and serves nobody"
        return Recovered(f"PostgreSQL {version}", fence, replayed_at)

    def load(self, dump: Path, version: str) -> Recovered:
        """A new cluster has the dump's database, and answers us. Nobody has a password in it.

        Args:
            dump: the folder that pg_restore reads.
            version: of the dump's source; '' where that is not known.

        Raises:
            Refused: its major version is not installed, or no cluster can be made.
            Unsafe: the dump cannot be loaded to the end.
            Retryable: the server was not ready in its time, or was killed.
        """
        binaries = find_binaries(version.partition(".")[0])
        own(self._data, find_user(USERS))
        own(self._room, find_user(USERS))
        programs = self._programs(binaries)
        programs.make_cluster(self._data, self._settings.superuser, _LETS_NOBODY_IN)
        self._start(fenced=True)
        programs.load(dump, self.address("template1"), self._settings.start_within_s)
        with connected(self.address("template1"), _PARTLY) as session:
            if session.execute("select 1 from pg_database where datname = 'postgres'").fetchone() is None:
                # Programs expect it.
                session.execute("create database postgres template template0")
        return Recovered(f"PostgreSQL {self._ask()[0]}", self._fence[1], remarks=_NOT_IN_A_DUMP)

    def databases(self) -> Sequence[str]:
        """Return the names of its databases, templates left out."""
        with psycopg.connect(self.address("template1"), autocommit=True) as session:
            return [name for (name,) in session.execute(_DATABASES).fetchall()]

    def mask(
        self, database: str, masking: Masking, key: str, journal: Journal, say: Callable[[str], None]
    ) -> Sequence[str]:
        """Nothing is left of what the rules replace, in tables, statistics, WAL and logs; the server is stopped."""
        if database not in self.databases():
            raise Refused(
                f"there is no database {database!r} in what was restored",
                on=str(self._data),
                next_action="name the one that the rules are for under 'database' of the target",
                facts={"there are": ", ".join(self.databases())},
            )
        dropped = self._drop_others(database)
        mark_copy(self.address(database), data_directory=self._data, entry_id=journal.entry_id, run_id=journal.run_id)
        done = mask_copy(self.address(database), masking, key, say)
        self._forget(database)
        rows = sum(done.tables.values())
        return (
            *(f"the database {name} was dropped from the copy: no rules are for it" for name in dropped),
            f"{rows} rows of {len(done.tables)} tables were masked, and {done.searched_columns} columns searched for "
            f"mail addresses, in {show_duration(done.took_s)}; none is left",
            "WAL and logs that came back with the copy were removed",
        )

    @cached_property
    def _fence(self) -> tuple[list[str], str]:
        return kernel_fence()

    def _binaries(self) -> Path:
        return find_binaries((self._data / "PG_VERSION").read_text().strip())

    def _programs(self, binaries: Path) -> Programs:
        return Programs(binaries, self._room, _JOBS, self._settings.start_within_s, self._redact)

    def _start(self, *, fenced: bool) -> None:
        own(self._room, find_user(USERS))
        settings = {
            **self._programs(self._binaries()).limits(self._data),
            "shared_preload_libraries": ",".join(self._settings.preload),
            **({"restore_command": ""} if fenced else {}),
        }
        prefix = self._fence[0] if fenced else []
        number = private.start(self._binaries(), self._data, self._room, settings, prefix)
        within_s, superuser = self._settings.start_within_s, self._settings.superuser
        private.wait_ready(number, self._data, self._room, superuser, within_s, self._redact)

    def _ask(self) -> tuple[str, bool, datetime | None]:
        try:
            with psycopg.connect(self.address("template1"), autocommit=True) as session:
                row = session.execute(_STATE).fetchone()
        except psycopg.Error as error:
            said = self._redact(error.diag.message_primary or str(error)).strip()
            raise Unsafe(
                f"the restored server does not answer: {said}",
                on=str(self._data),
                state="it can be reached by nobody but us",
                next_action="if the role is unknown, name its superuser in the target's settings; else do not count on "
                "this backup",
            ) from None
        assert row is not None
        return str(row[0]).split(" ")[0], row[1], row[2]

    def _drop_others(self, database: str) -> list[str]:
        """The copy has that database, and 'postgres' empty; returns the others, which are gone."""
        with connected(self.address("template1"), _PARTLY) as session:
            (count,) = session.execute(_OWN_TABLES).fetchone() or (0,)
        if count:
            raise Refused(
                "template1 of the copy has tables, which no rules are for",
                on=str(self._data),
                next_action="drop them in the source: every new database gets them",
            )
        with connected(self.address(database), _PARTLY) as session:
            query = "select datname from pg_database where not datistemplate and datname <> %s order by 1"
            others = [name for (name,) in session.execute(query, [database]).fetchall()]
            for name in others:
                session.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
            if "postgres" in others:
                # Programs expect it; what was in it is gone.
                session.execute("create database postgres template template0")
        return others

    def _forget(self, database: str) -> None:
        """No statistic, WAL or log of the copy holds what stood there before; the server is stopped."""
        with connected(self.address(database), _PARTLY) as session:
            session.execute("vacuum (full) pg_catalog.pg_statistic")
            session.execute("vacuum (full) pg_catalog.pg_statistic_ext_data")
        end_servers(self._data, signal.SIGINT, _STOP_WITHIN_S)
        reset = [*as_user(find_user(USERS)), str(self._binaries() / "pg_resetwal"), f"--pgdata={self._data}"]
        done = shell.run(reset, cwd=self._room, timeout_s=_RESET_WITHIN_S, redact=self._redact)
        if done.exit_code != 0:
            raise Unsafe(
                "the copy's WAL, which holds what was masked, cannot be removed",
                on=str(self._data),
                state=_PARTLY,
                next_action="report this, with the last lines",
                facts={"last lines": "\n".join(done.tail[-5:])},
            )
        for name in _LOGS:
            shutil.rmtree(self._data / name, ignore_errors=True)
