"""PostgreSQL's own programs for backups: pg_basebackup and pg_verifybackup, and what their failures mean."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg

from blocks import shell
from blocks.context import Context
from blocks.files import digest_of_file
from blocks.postgresql import find_binaries
from blocks.users import as_user, find_user
from tasks.common.backups import OnProgress, Progress
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.model import StrictModel

_LOG = logging.getLogger(__name__)
_PROGRESS = re.compile(r"^\s*([0-9]+)/([0-9]+) kB \(")
_REFUSED = re.compile(
    r'authentication failed|role ".*" does not exist|no password supplied|no pg_hba\.conf entry'
    r"|must be superuser or replication role"
)
_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_NO_SLOT = re.compile(r"all replication slots are in use|exceeds max_wal_senders|remaining connection slots")
# Where a slot has fallen behind too far the server ends whoever uses it, and says no more than that to the client.
_WAL_ENDED = re.compile(
    r"requested WAL segment \S+ has already been removed"
    r"|(?:WAL|replication) stream: .*terminating connection due to administrator command"
)
# Its own folder is new: what has something in it already is a tablespace's, which it writes to the original's path.
_TABLESPACE = re.compile(r'directory "[^"]+" exists but is not empty')
_SHOWN = 5
# What pg_verifybackup passes by, as PostgreSQL may change it in a copy.
_LEFT_OUT = "postgresql.auto.conf"
MANIFEST = "backup_manifest"


class Source(StrictModel):
    """Where the server is and who asks."""

    host: str
    port: int
    role: str
    password: str | None


class Programs:
    """Runs PostgreSQL's programs as an operating-system user.

    Args:
        context: redacts what they print.
        user: runs them where we are root.
        timeout_s: longest time for one.
    """

    def __init__(self, context: Context, user: str, timeout_s: float) -> None:
        self._context = context
        self._timeout_s = timeout_s
        self.user = find_user([user])

    def version(self) -> str:
        """Return pg_basebackup's version: '15.18'.

        Raises:
            Refused: it is not installed, or older than 15.
        """
        found = re.search(r"([0-9]+)(?:\.[0-9]+)*", self._run("pg_basebackup", "--version", capture=True).stdout)
        if found is None or int(found[1]) < 15:
            raise Refused(
                "pg_basebackup is too old: 15 is the first that compresses on the server's side",
                on="this machine",
                next_action="install the programs of PostgreSQL 15 or newer",
            )
        return found[0]

    def base_backup(self, source: Source, into: Path, max_rate_kib: int | None, on_progress: OnProgress) -> None:
        """The folder is a whole copy of the cluster with its WAL and a manifest.

        Raises:
            Refused: the server does not let us in, or has tablespaces.
            Retryable: the server or the disk failed on the way.
        """

        def on_line(line: str) -> None:
            found = _PROGRESS.match(line)
            if found:
                done, total = int(found[1]) * 1024, int(found[2]) * 1024
                on_progress(Progress(done, max(done, total)))

        arguments = [
            f"--host={source.host}",
            f"--port={source.port}",
            f"--username={source.role}",
            "--no-password",
            f"--pgdata={into}",
            "--format=plain",
            "--checkpoint=fast",
            "--wal-method=stream",
            "--manifest-checksums=SHA256",
            # On the way only: in plain format it is unpacked where it is written.
            "--compress=server-zstd",
            "--progress",
        ]
        arguments += [f"--max-rate={max_rate_kib}k"] if max_rate_kib else []
        env = {"PGPASSWORD": source.password} if source.password else {}
        done = self._run("pg_basebackup", *arguments, env=env, on_line=on_line)
        if done.exit_code != 0:
            tail = [line for line in done.tail if not _PROGRESS.match(line)]
            raise failure(f"pg_basebackup failed (exit code {done.exit_code})", "\n".join(tail), _place(source))
        require_no_tablespaces(into, _place(source))

    def problems(self, data: Path) -> list[str]:
        """Return what is wrong with a copy, by its manifest and its WAL, one sentence each.

        Raises:
            Retryable: pg_verifybackup was killed: it has found nothing either way.
        """
        done = self._run("pg_verifybackup", "--quiet", str(data))
        if done.exit_code < 0:
            raise Retryable(
                f"pg_verifybackup was ended by signal {-done.exit_code}",
                on=str(data),
                next_action="see what ended it, such as the kernel for want of memory, then run this again",
            )
        said = [line.partition("error: ")[2] or line for line in done.tail if "error: " in line or "fatal: " in line]
        if done.exit_code != 0:
            return said[:_SHOWN] or [f"pg_verifybackup failed (exit code {done.exit_code})"]
        return _left_out_problems(data)

    def _run(
        self,
        program: str,
        *arguments: str,
        env: dict[str, str] | None = None,
        capture: bool = False,
        on_line: Callable[[str], None] | None = None,
    ) -> shell.Completed:
        def hand_on(line: str) -> None:
            _LOG.debug("%s", line)
            if on_line is not None:
                on_line(line)

        return shell.run(
            [*as_user(self.user), *shell.ENDS_WITH_US, str(find_binaries() / program), *arguments],
            cwd=Path("/"),
            timeout_s=self._timeout_s,
            redact=self._context.secrets.redact,
            env=env,
            path=self._context.path,
            on_line=hand_on,
            capture_stdout=capture,
        )


def sign_in(source: Source) -> str:
    """The server lets us in for replication; returns its version.

    Raises:
        Refused: it does not.
        Retryable: it does not answer.
    """
    try:
        with psycopg.connect(
            host=source.host,
            port=source.port,
            user=source.role,
            password=source.password,
            dbname="postgres",
            connect_timeout=10,
            autocommit=True,
            # pg_hba.conf has entries of their own for it.
            replication="true",
        ) as connection:
            return connection.info.parameter_status("server_version") or ""
    except psycopg.Error as error:
        raise failure("the server cannot be asked for a backup", str(error), _place(source)) from None


def failure(what: str, said: str, on: str) -> SlipwayError:
    """Return the error that PostgreSQL's words mean."""
    facts = {"last lines": said or "(it printed nothing)"}
    if _REFUSED.search(said):
        following = "correct role and password in the estate file; the role needs REPLICATION, and pg_hba.conf an entry"
        return Refused(f"{what}: it does not let us in", on=on, next_action=following, facts=facts)
    if _TABLESPACE.search(said):
        return _tablespaces(on, facts)
    if _FULL.search(said):
        return Retryable(f"{what}: the disk is full", on=on, next_action="free space, then run this again", facts=facts)
    if _NO_SLOT.search(said):
        following = "drop what nobody reads (select * from pg_replication_slots where not active), or raise "
        following += "max_replication_slots and max_wal_senders"
        return Retryable(f"{what}: no replication slot is free", on=on, next_action=following, facts=facts)
    if _WAL_ENDED.search(said):
        following = (
            "see the server's log: where it released the slot, raise max_slot_wal_keep_size, or take the backup "
        )
        following += "when less is written; then run this again"
        what = f"{what}: the server has ended its WAL stream"
        return Retryable(what, on=on, next_action=following, facts=facts)
    return Retryable(what, on=on, next_action="do what its last lines ask for, then run this again", facts=facts)


def require_no_tablespaces(data: Path, on: str) -> None:
    """The copy has all of its files within its own folder.

    Raises:
        Refused: some are in a tablespace, beside it.
    """
    outside = [path.readlink() for path in sorted((data / "pg_tblspc").iterdir()) if path.is_symlink()]
    if outside:
        raise _tablespaces(on, {"written on this machine, and not part of a backup": ", ".join(map(str, outside))})


def _tablespaces(on: str, facts: Mapping[str, object]) -> Refused:
    return Refused(
        "the server has tablespaces, which pg_basebackup writes to the paths that they have on the server",
        on=on,
        next_action="back it up with the driver pgbackrest, or move what is in them to pg_default and drop them",
        facts=facts,
    )


def _place(source: Source) -> str:
    return f"PostgreSQL at {source.host}:{source.port}"


def _left_out_problems(data: Path) -> list[str]:
    files = json.loads((data / MANIFEST).read_text())["Files"]
    wanted = next((each for each in files if each.get("Path") == _LEFT_OUT), None)
    if wanted is None:
        return []
    file = data / _LEFT_OUT
    if not file.exists():
        return [f'"{_LEFT_OUT}" is present in the manifest but not on disk']
    sound = digest_of_file(file) == f"sha256:{wanted['Checksum']}"
    return [] if sound else [f'checksum mismatch for file "{_LEFT_OUT}"']
