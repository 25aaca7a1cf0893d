"""PostgreSQL's own programs that make, load and check a copy; what they print is read, and no row of it kept."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from blocks import shell
from blocks.postgresql import USERS
from blocks.users import as_user, find_user
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.verification.model import Checked
from tasks.verification.reading import read_amcheck, read_checksums, without_contents

PROGRAMS = (
    "postgres",
    "initdb",
    "pg_controldata",
    "pg_checksums",
    "pg_amcheck",
    "pg_dump",
    "pg_restore",
)
"""All that is run here, in the folder of one version."""
_CONTROL_WITHIN_S = 30.0
_INITDB_WITHIN_S = 300.0
# Of a copy that is damaged all over.
_LINES_AT_MOST = 10_000
_LIMITS = {
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
_CONTROL = re.compile(r"^([^:]+):\s+(.*)$", re.MULTILINE)
_INDEXES = """
select count(*) filter (where m.amname = 'btree'), count(*) filter (where m.amname <> 'btree')
from pg_index x join pg_class c on c.oid = x.indexrelid join pg_am m on m.oid = c.relam
"""


class Programs:
    """The programs of one version, as they look at one room.

    Args:
        binaries: their folder.
        room: the room; they run in it.
        jobs: tables at a time.
        within_s: longest time of each.
        redact: takes secrets out of a line.
    """

    def __init__(self, binaries: Path, room: Path, jobs: int, within_s: float, redact: Callable[[str], str]) -> None:
        self._binaries, self._room, self._jobs, self._within_s, self._redact = binaries, room, jobs, within_s, redact

    def limits(self, data: Path) -> dict[str, str]:
        """Return the settings that a server needs at least to take up what a copy has in flight."""
        control = self._control(data)
        return {setting: control[name] for name, setting in _LIMITS.items() if name in control}

    def make_cluster(self, data: Path, superuser: str, options: Sequence[str] = ("--auth=trust",)) -> None:
        """The folder is an empty cluster.

        Args:
            data: the folder.
            superuser: name of its only role.
            options: of initdb: whom its own configuration lets in, once that counts.

        Raises:
            Refused: initdb failed.
        """
        options = [*options, "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
        code, lines = self._run(["initdb", f"--pgdata={data}", f"--username={superuser}", *options], _INITDB_WITHIN_S)
        if code != 0:
            raise Refused(
                "no cluster could be made to load a dump into",
                on=str(data),
                next_action="do what initdb's last lines ask for",
                facts={"last lines": "\n".join(lines[-5:])},
            )

    def load(self, dump: Path, address: str, within_s: float) -> None:
        """The dump's database is there as the dump has it, without its owners and rights; 'postgres' may be gone.

        Args:
            dump: the folder.
            address: of the database template1 of a new cluster.
            within_s: longest time.

        Raises:
            Unsafe: it could not be loaded to the end.
            Retryable: the server does not answer.
        """
        try:
            # The dump's own database is made as the dump has it; it may have this name.
            with psycopg.connect(address, autocommit=True) as session:
                session.execute("drop database postgres")
        except psycopg.Error as error:
            raise Retryable(
                f"the new server stopped to answer: {self._redact(error.diag.message_primary or str(error)).strip()}",
                on=str(self._room),
                next_action="look whether this machine is short of memory (the kernel's log), then run this again",
            ) from None
        options = [f"--jobs={self._jobs}", "--exit-on-error", "--create", "--no-owner", "--no-privileges"]
        code, lines = self._run(["pg_restore", *options, f"--dbname={address}", str(dump)], within_s)
        if code != 0:
            raise Unsafe(
                f"the dump cannot be loaded: {without_contents(lines) or f'pg_restore ended with exit code {code}'}",
                on=str(dump),
                state="a part of it may be loaded, where nobody but us can reach it",
                next_action="do not count on this backup: restore an older one, and take a new one now",
            )

    def check_pages(self, data: Path) -> Checked:
        """Return which pages are not as they were written; the server is stopped."""
        if self._control(data).get("Data page checksum version", "0") == "0":
            return Checked(
                left_out="the source's pages have no checksums: damage to them cannot be seen. Switch them on with "
                "pg_checksums --enable on the stopped source"
            )
        code, lines = self._run(["pg_checksums", "--check", f"--pgdata={data}"])
        return read_checksums(lines, code)

    def check_structure(self, superuser: str, databases: Sequence[str], address: Callable[[str], str]) -> Checked:
        """Return where tables and their B-tree indexes do not fit together; amcheck is put into the copy for it."""
        with psycopg.connect(address("template1"), autocommit=True) as session:
            known = session.execute("select 1 from pg_available_extensions where name = 'amcheck'").fetchone()
        if known is None:
            return Checked(left_out="the extension amcheck is not installed on this machine (postgresql-contrib)")
        checked = dict.fromkeys(("databases", "indexes", "indexes of other kinds, not looked at"), 0)
        for name in databases:
            with psycopg.connect(address(name), autocommit=True) as session:
                row = session.execute(_INDEXES).fetchone()
            assert row is not None
            checked["databases"] += 1
            checked["indexes"] += row[0]
            checked["indexes of other kinds, not looked at"] += row[1]
        options = [
            "--all",
            "--install-missing",
            "--heapallindexed",
            "--parent-check",
            f"--jobs={self._jobs}",
            "--no-password",
            f"--host={self._room}",
            f"--port={conninfo_to_dict(address('template1'))['port']}",
            f"--username={superuser}",
            "--maintenance-db=template1",
        ]
        code, lines = self._run(["pg_amcheck", *options])
        found = read_amcheck(lines, code)
        return Checked(found.problems, found.count, checked)

    def read_all(self, databases: Sequence[str], address: Callable[[str], str]) -> Checked:
        """Return which databases cannot be read from the first to the last row."""
        problems = []
        for name in databases:
            command = ["pg_dump", "--format=plain", "--file=/dev/null", "--no-password", f"--dbname={address(name)}"]
            code, lines = self._run(command)
            if code != 0:
                problems.append(f"{name}: {without_contents(lines) or f'pg_dump ended with exit code {code}'}")
        return Checked(tuple(problems), len(problems), {"databases": len(databases)})

    def _control(self, data: Path) -> dict[str, str]:
        """Return what pg_controldata says."""
        code, lines = self._run(["pg_controldata", f"--pgdata={data}"], _CONTROL_WITHIN_S)
        if code != 0:
            raise Unsafe(
                f"the copy's control file cannot be read: {without_contents(lines) or 'pg_controldata failed'}",
                on=str(data),
                state="no server was started on it",
                next_action="do not count on this backup: restore an older one, and take a new one now",
            )
        return dict(_CONTROL.findall("\n".join(lines)))

    def _run(self, argv: Sequence[str], within_s: float | None = None) -> tuple[int, list[str]]:
        """Return how a program has ended, and what it has printed on both streams.

        Raises:
            Retryable: it was killed: it has found nothing either way.
        """
        lines: list[str] = []

        def keep(line: str) -> None:
            if len(lines) < _LINES_AT_MOST:
                lines.append(line)

        command = [*as_user(find_user(USERS)), *shell.ENDS_WITH_US, str(self._binaries / argv[0]), *argv[1:]]
        done = shell.run(
            command, cwd=self._room, timeout_s=within_s or self._within_s, redact=self._redact, on_line=keep
        )
        if done.exit_code < 0:
            raise Retryable(
                f"{argv[0]} was ended by signal {-done.exit_code}",
                on=str(self._room),
                next_action="see what ended it, such as the kernel for want of memory, then verify again",
            )
        return done.exit_code, lines
