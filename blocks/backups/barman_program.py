"""barman-cloud's programs: how they are called, and what their failures mean. GPL-3: called, never imported."""

import contextlib
import json
import logging
import os
import re
import shlex
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blocks import shell
from blocks.backups.barman_settings import Settings, configuration, credentials
from blocks.backups.basebackup_program import failure
from blocks.backups.folders import write_private
from blocks.backups.programs import Programs
from blocks.context import Context
from blocks.files import system_errors
from blocks.users import find_user, own
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe

NAME = "slipway"
"""The name that Barman keeps with each backup: it is ours."""
INSTALL = "a Python environment of its own with 'barman[cloud]', see docs/how-to/backup-engines.md"
_LOG = logging.getLogger(__name__)
# Tried with this one. Debian 12 has 3.4, which writes no backup.info before the end.
_OLDEST = (3, 19)
_BACKUP = "barman-cloud-backup"
_REFUSED = re.compile(
    r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|NoSuchBucket|Forbidden|\(403\)|Not Found"
    r"|Missing required python module|permission denied for|CERTIFICATE_VERIFY_FAILED"
)
_POSTGRESQL = re.compile(r"connection to server|Cannot connect to postgres|FATAL: ")
_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_DAMAGED = re.compile(
    r"while decompressing data|unexpected end of data|not a gzip file|CRC check failed|invalid header|bad checksum"
    r"|Missing file|not exist"
)
_SHOWN = 8


class Program:
    """Runs barman-cloud with files of its own for the keys, which only its user can read.

    Args:
        settings: what is backed up, and into what.
        context: resolves secrets and paths.
    """

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self.user = find_user([settings.user])
        self._programs = Programs(context, settings.timeout_s, self.user)
        self.folder = context.resolve(settings.folder)
        self.on = f"barman-cloud's server {settings.server}"

    def version(self) -> str:
        """Return the version: '3.19.1'.

        Raises:
            Refused: it is missing or too old.
        """
        version = self._programs.version([_BACKUP, "--version"], INSTALL)
        if tuple(map(int, version.split(".")[:2])) < _OLDEST:
            raise Refused(
                f"barman-cloud {version} is too old",
                on="this machine",
                next_action=f"install {'.'.join(map(str, _OLDEST))} or newer: {INSTALL}",
            )
        return version

    def configure(self) -> None:
        """The files with the keys and the folders are there, for the user alone. *Idempotent:* yes.

        Raises:
            Refused, Retryable: a secret cannot be resolved, or the folder cannot be written.
        """
        with system_errors("barman-cloud's files cannot be written", self.folder):
            for folder in (self.folder, *(self.folder / name for name in ("scratch", "spool", "tmp"))):
                own(folder, self.user)
            write_private(self.folder / "credentials", credentials(self._settings, self._context).encode(), self.user)
            write_private(self.folder / "config", configuration(self._settings, self._context).encode(), self.user)

    def command(
        self,
        program: str,
        *arguments: str,
        before: tuple[str, ...] = (),
        on_line: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
        damaged: bool = False,
    ) -> None:
        """A command has ended well.

        Args:
            program: 'barman-cloud-restore'.
            arguments: what comes after the place and the server, no secrets.
            before: options.
            on_line: receives each line.
            stop: it is ended as soon as this is set.
            damaged: what cannot be unpacked, or is missing, is damage.

        Raises:
            Refused, Retryable, Unsafe: it failed; by what its last lines mean.
        """
        self.configure()
        wrong: list[str] = []

        def read(line: str) -> None:
            if " DEBUG: " not in line:
                _LOG.debug("%s", line)
            if " ERROR: " in line or " WARNING: " in line:
                wrong.append(line.partition("] ")[2] or line)
            if on_line is not None:
                on_line(line)

        place = (self._settings.url, self._settings.server)
        done = self._programs.run(
            [program, *before, *place, *arguments], env=self._environment(), on_line=read, stop=stop
        )
        if done.exit_code != 0:
            raise self._failure(program, done, wrong, damaged=damaged)

    def json(self, program: str, *arguments: str) -> Any:
        """Return what a command prints as JSON.

        Raises:
            Refused, Retryable: it failed.
        """
        self.configure()
        place = (self._settings.url, self._settings.server)
        done = self._programs.ask([program, "--format=json", *place, *arguments], env=self._environment())
        if done.exit_code != 0:
            raise self._failure(program, done, list(done.tail), damaged=False)
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise Retryable(f"what {program} prints is no JSON", on=self.on, next_action="read the log") from None

    def as_its_user(self, *argv: str) -> shell.Completed:
        """Another program has ended, run by the same user."""
        return self._programs.ask(argv, env={"TZ": "UTC"})

    def fetching(self) -> str:
        """Return the restore_command of a copy, which holds no secret.

        PostgreSQL takes every failure but a signal for the end of all WAL: only where the bucket has said that there is
        no such segment is it told so. *Source:* PostgreSQL 15 manual, section 26.3.4; barman-cloud-wal-restore, exit
        codes: 1 for a segment that does not exist.
        """
        assignments = [f"{name}={shlex.quote(value)}" for name, value in self._files().items()]
        if self._context.path:
            folders = ":".join(str(Path(folder).absolute()) for folder in self._context.path)
            assignments.append(f'PATH={shlex.quote(folders)}:"$PATH"')
        # Where others may put files, WAL of another cluster could be taken for ours.
        options = ["--no-partial", f"--spool-dir={self.folder / 'spool'}"]
        command = ["barman-cloud-wal-restore", *options, self._settings.url, self._settings.server]
        text = f"{' '.join(assignments)} {shlex.join(command)}".replace("%", "%%")
        return f'{text} %f "%p"; code=$?; test $code -le 1 || exit 255; exit $code'

    def end_orphans(self) -> list[int]:
        """No process of an interrupted backup is left; returns their ids. *Idempotent:* yes.

        Barman's own sub-processes outlive the one that was killed: they hold the session in which the backup began.
        """
        return [number for number in map(int, filter(str.isdecimal, os.listdir("/proc"))) if self._end_orphan(number)]  # noqa: PTH208

    def empty_folders(self) -> None:
        """What an interrupted command has staged is gone. *Idempotent:* yes."""
        with system_errors("what an interrupted command has left cannot be removed", self.folder):
            for name in ("scratch", "spool", "tmp"):
                if (self.folder / name).exists():
                    shutil.rmtree(self.folder / name)

    def _end_orphan(self, number: int) -> bool:
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(number)
            try:
                # Looked at behind the handle: the number may have changed hands.
                if self._is_ours(number):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    return True
            finally:
                os.close(handle)
        return False

    def _is_ours(self, number: int) -> bool:
        arguments = Path("/proc", str(number), "cmdline").read_bytes().decode(errors="replace").split("\0")
        wanted = {f"--name={NAME}", self._settings.url, self._settings.server}
        return wanted <= set(arguments) and any(Path(each).name == _BACKUP for each in arguments)

    def _files(self) -> dict[str, str]:
        ca_file = self._settings.s3.ca_file
        return {
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "credentials"),
            "AWS_CONFIG_FILE": str(self.folder / "config"),
            # The server's own environment would come before the file.
            **({"AWS_CA_BUNDLE": str(self._context.resolve(ca_file))} if ca_file else {}),
        }

    def _environment(self) -> dict[str, str]:
        password = self._settings.password
        return {
            **self._files(),
            "HOME": self.user.pw_dir if self.user else os.environ.get("HOME", "/"),
            # Barman's labels are local time.
            "TZ": "UTC",
            "TMPDIR": str(self.folder / "tmp"),
            **({"PGPASSWORD": self._context.secrets.resolve(password)} if password else {}),
        }

    def _failure(self, program: str, done: shell.Completed, wrong: list[str], *, damaged: bool) -> SlipwayError:
        """Return the error that a command's end means."""
        text = "\n".join(wrong[-_SHOWN:] or [line for line in done.tail if " DEBUG: " not in line][-_SHOWN:])
        if done.exit_code > 0 and _POSTGRESQL.search(text):
            return failure("the server cannot be backed up", text, self.on)
        kind, what, following = _meaning(program, done.exit_code, text, damaged=damaged)
        return kind(
            what,
            on=self.on,
            state="what is damaged was not restored" if kind is Unsafe else "nothing is called a backup that is none",
            next_action=following,
            facts={"exit code": done.exit_code, "last lines": text or "(it printed nothing)"},
        )


def _meaning(program: str, code: int, text: str, *, damaged: bool) -> tuple[type[SlipwayError], str, str]:
    """Return the kind of error, what failed, and what to do next."""
    if code < 0:
        return Retryable, f"{program} was ended by signal {-code}", "see what ended it, then run this again"
    if _FULL.search(text):
        return Retryable, f"{program} cannot write: the disk is full", "free space there, then run this again"
    if _REFUSED.search(text):
        return (
            Refused,
            f"{program} was not let in",
            "correct what its last lines name",
        )
    if damaged and _DAMAGED.search(text):
        return Unsafe, "what is stored is damaged", "restore another backup"
    return Retryable, f"{program} failed", "do what its last lines ask for, then run this again"
