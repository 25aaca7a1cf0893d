"""pgBackRest as a program: its configuration, its commands, and what its failures mean."""

import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blocks import shell
from blocks.backups.folders import write_private
from blocks.backups.pgbackrest_settings import Settings, configuration
from blocks.backups.programs import Programs
from blocks.context import Context
from blocks.files import system_errors
from blocks.users import as_user, find_user, own
from tasks.common.backups import OnProgress, Progress
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe

_LOG = logging.getLogger(__name__)
_SHORT_S = 600.0
_OLDEST = (2, 45)
_FILE = re.compile(r"\((?:[^()]*, )?([0-9.]+)([KMGTP]?B), ([0-9.]+)%\)")
_UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40, "PB": 2**50}
_CREDENTIALS = re.compile(
    r'authentication failed|role ".*" does not exist|no password supplied|no pg_hba\.conf entry|permission denied for'
    r"|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|must be superuser|HTTP request failed with 40[13]"
)
_KEY = re.compile(r"CryptoError|FormatError|ERROR: \[0(29|95)\]")
_DAMAGED = {26, 28, 29, 55, 95}
"""Checksum, invalid file, format, missing file, decryption."""
_LOCKED, _FILE_WRITE, _ARCHIVE_TIMEOUT, _ARCHIVE_DISABLED = 50, 64, 82, 87
_SHOWN = 8
_FREE_SPACE = "free space there, or see what is wrong with it, then run this again"
_SETUP = {28, 31, 32, 33, 34, 37, 51, 58, 68, _ARCHIVE_DISABLED}


class Program:
    """Runs pgBackRest with a configuration file of its own, which only its user can read.

    Args:
        settings: what is backed up, and into what.
        context: resolves secrets and paths.
    """

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self.user = find_user([settings.user])
        self.folder = context.resolve(settings.folder)
        self.config = self.folder / "pgbackrest.conf"
        self.on = f"pgBackRest's stanza {settings.stanza}"

    def version(self) -> tuple[int, ...]:
        """Return the program's version: (2, 45).

        Raises:
            Refused: it is missing or too old.
        """
        found = Programs(self._context).version(["pgbackrest", "version"], "apt-get install pgbackrest")
        version = tuple(map(int, found.split(".")))
        if version < _OLDEST:
            raise Refused(
                f"pgBackRest {found} is too old",
                on="this machine",
                next_action="install pgbackrest 2.45 or newer, e.g. 'apt-get install pgbackrest'",
            )
        return version

    def command(
        self,
        *arguments: str,
        repository: int | None = None,
        on_line: Callable[[str], None] | None = None,
        capture: bool = False,
        accept: tuple[int, ...] = (0,),
        damaged: bool = False,
    ) -> shell.Completed:
        """A command has ended well; returns how.

        Args:
            arguments: the command and its options, no secrets.
            repository: the only one that it is about.
            on_line: receives each line.
            capture: return what it prints, without its log.
            accept: exit codes that are no failure.
            damaged: a file that is missing or not as it was written is damage.

        Raises:
            Refused, Retryable, Unsafe: it failed; by what its exit code and its last lines mean.
        """
        self.configure()
        options = [f"--config={self.config}", f"--stanza={self._settings.stanza}"]
        options += [f"--repo={repository}"] if repository is not None else []
        options += ["--log-level-console=off", "--log-level-stderr=warn"] if capture else []
        done = self._run(["pgbackrest", *options, *arguments], on_line=on_line, capture=capture)
        if done.exit_code not in accept:
            raise self._failure(arguments[0], done, damaged=damaged)
        return done

    def json(self, *arguments: str, repository: int) -> Any:
        """Return what a command prints as JSON.

        Raises:
            Refused, Retryable: it failed.
        """
        done = self.command(*arguments, "--output=json", repository=repository, capture=True)
        try:
            # Of a repository that was read with a wrong key it prints raw bytes.
            return json.loads(done.stdout or "null", strict=False)
        except ValueError:
            raise Retryable(
                "what pgBackRest prints is no JSON", on=self.on, next_action="read its lines in the log"
            ) from None

    def as_its_user(self, *argv: str) -> shell.Completed:
        """Another program has ended, run by the same user."""
        return self._run(list(argv), capture=True)

    def configure(self) -> None:
        """The configuration file and the folders are there, for its user alone. *Idempotent:* yes.

        Raises:
            Refused, Retryable: a secret cannot be resolved, or the folder cannot be written.
        """
        text = configuration(self._settings, self._context).encode()
        with system_errors("pgBackRest's configuration cannot be written", self.config):
            for folder in (self.folder, self.folder / "lock", self.folder / "log", self.folder / "scratch"):
                own(folder, self.user)
            write_private(self.config, text, self.user)

    def place(self, repository: int) -> Path | None:
        """Return the folder of a repository; None for one in a bucket."""
        given = self._settings.repositories[repository - 1]
        return None if given.s3 else self._context.resolve(given.path)

    def own_repositories(self) -> None:
        """The folders of local repositories exist and belong to the user. *Idempotent:* yes."""
        for number in range(1, len(self._settings.repositories) + 1):
            folder = self.place(number)
            if folder is not None and not folder.exists():
                with system_errors("the repository's folder cannot be made", folder):
                    own(folder, self.user)

    def _run(
        self, argv: list[str], *, on_line: Callable[[str], None] | None = None, capture: bool = False
    ) -> shell.Completed:
        def hand_on(line: str) -> None:
            _LOG.debug("%s", line)
            if on_line is not None:
                on_line(line)

        password = self._settings.password
        home = self.user.pw_dir if self.user else os.environ.get("HOME", "/")
        return shell.run(
            # One that goes on would hold the stanza's lock, and the next run could do nothing.
            [*as_user(self.user), *shell.ENDS_WITH_US, *argv],
            # Where every user may stand.
            cwd=Path("/"),
            timeout_s=self._settings.timeout_s if on_line is not None else max(_SHORT_S, 2 * self._archive_s),
            redact=self._context.secrets.redact,
            env={
                "HOME": home,
                "TZ": "UTC",
                **({"PGPASSWORD": self._context.secrets.resolve(password)} if password else {}),
            },
            path=self._context.path,
            on_line=hand_on,
            capture_stdout=capture,
        )

    @property
    def _archive_s(self) -> float:
        return self._settings.archive_timeout_s

    def _failure(self, command: str, done: shell.Completed, *, damaged: bool) -> SlipwayError:
        """Return the error that a command's end means."""
        tail = [_printable(line) for line in done.tail]
        wrong = [line for line in tail if "DETAIL:" not in line and "INFO:" not in line] or tail
        kind, what, following = _meaning(command, done.exit_code, "\n".join(wrong), damaged=damaged)
        # Of a bucket's answer it shows all headers below the error itself.
        begun = max((number for number, line in enumerate(wrong) if "ERROR:" in line), default=len(wrong) - _SHOWN)
        text = "\n".join(wrong[max(0, begun) :][:_SHOWN])
        return kind(
            what,
            on=self.on,
            state="what is damaged was not restored" if kind is Unsafe else "nothing is called a backup that is none",
            next_action=following,
            facts={"exit code": done.exit_code, "last lines": text or "(it printed nothing)"},
        )


def _meaning(command: str, code: int, text: str, *, damaged: bool) -> tuple[type[SlipwayError], str, str]:
    """Return the kind of error, what failed, and what to do next."""
    if code < 0:
        return Retryable, f"pgbackrest {command} was ended by signal {-code}", "see what ended it, then run this again"
    if code == _FILE_WRITE or "No space left on device" in text:
        # It does not say why a write has failed.
        return Retryable, f"pgbackrest {command} cannot write: the disk is full or broken", _FREE_SPACE
    if _CREDENTIALS.search(text):
        return Refused, f"pgbackrest {command} was not let in", "correct role, password or keys in the estate file"
    if code == _LOCKED:
        return Retryable, "another pgBackRest command is at work on this stanza", "wait for it, then run this again"
    if code == _ARCHIVE_TIMEOUT:
        return (
            Refused,
            "WAL does not arrive in the repository",
            "see archive_command in postgresql.conf and the server's log, then run this again",
        )
    if damaged and code in _DAMAGED:
        return Unsafe, "what is stored is damaged", "restore another backup, or from the other repository"
    if code in _SETUP:
        return Refused, f"pgbackrest {command} is not set up", "do what its last lines ask for, then run this again"
    if _KEY.search(text):
        return Refused, "the repository cannot be read with this key", "name the key that it was made with"
    return Retryable, f"pgbackrest {command} failed", "do what its last lines ask for, then run this again"


def unreadable(message: str, on: str) -> SlipwayError:
    """Return the error for a repository of which `info` says what is wrong with it."""
    text = _printable(message.split("\n")[0])
    facts = {"pgBackRest said": text}
    if _KEY.search(message):
        return Refused(
            "the repository cannot be read with this key",
            on=on,
            next_action="name the key that it was made with; if it is right, the repository is damaged",
            facts=facts,
        )
    if _CREDENTIALS.search(message) or "[403]" in message or " 403 " in message:
        return Refused("the repository does not let us in", on=on, next_action="correct its keys", facts=facts)
    return Retryable(
        "the repository does not answer", on=on, next_action="see that it can be reached, then try again", facts=facts
    )


def _printable(line: str) -> str:
    """Return a line of text; of bytes that were read with a wrong key, no more than that they are none."""
    return re.sub(r"[^\x20-\x7e\u00a0-\ud7ff]+", "?", line) if "key/value found" not in line else "(no text)"


class Counter:
    """Makes progress of pgBackRest's lines, one a file, for a backup or a restore.

    Args:
        on_progress: is told after each file.
    """

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._seen = Progress(0, 0)

    def __call__(self, line: str) -> None:
        """One more line has come."""
        found = _FILE.search(line)
        if found is None or " file " not in line:
            return
        done = self._seen.done_bytes + round(float(found[1]) * _UNITS[found[2]])
        percent = float(found[3])
        self._tell(Progress(done, max(done, round(done * 100 / percent) if percent else 0)))

    def finish(self, size_bytes: int) -> None:
        """All is done."""
        done = max(size_bytes, self._seen.done_bytes)
        self._tell(Progress(done, done))

    def _tell(self, progress: Progress) -> None:
        self._seen = progress
        self._on_progress(progress)
