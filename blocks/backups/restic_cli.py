"""restic by its command line: one repository, and the meaning of what it says.

Up to 0.16 its exit codes tell little, and its words have to; distinct exit codes came with 0.17, which still says the
same words. Measured with 0.14, where a missing pack is asked for again for 40 seconds before a restore gives up: it is
ended at the first such line. *Source:* restic's manual, 075_scripting; tried with 0.14.0.
"""

import json
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

from blocks.backups.programs import Programs
from blocks.shell import Completed
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe

_NO_REPOSITORY = re.compile(r"unable to open config file: .*(?:no such file|does not exist)", re.IGNORECASE)
_LOCKED = "already locked"
_NOT_ALLOWED = re.compile(
    r"wrong password or no key found|permission denied|access denied|InvalidAccessKeyId|SignatureDoesNotMatch"
    r"|read-only file system",
    re.IGNORECASE,
)
_DISK_FULL = "no space left on device"
_DAMAGED = re.compile(
    r"ciphertext verification failed|repository contains errors|does not match|invalid data returned|not found in index"
    r"|unexpected EOF|unable to load|does not exist|StreamPack|is damaged",
    re.IGNORECASE,
)
_LOST = re.compile(r"Load\(<.*(?:no such file|does not exist|\bEOF|file is shorter)", re.IGNORECASE)
_SILENT = re.compile(
    r"^\s*$|^(?:create exclusive lock|load indexes|check all packs|check snapshots|read all data|Fatal: repository con)"
    r"|^\[\d+:\d+|^\s*(?:The repository is damaged|signal )"
)


class NoRepository(Exception):
    """There is no repository there (yet)."""


class ResticRepository:
    """One repository.

    Args:
        location: what restic is told: a folder, or s3:https://...
        programs: runs it.
        environment: password, and what its store needs.
    """

    def __init__(self, location: str, programs: Programs, environment: Callable[[], Mapping[str, str]]) -> None:
        self.location = location
        self._programs = programs
        self._environment = environment

    def run(self, *arguments: str, on_line: Callable[[str], None] | None = None) -> Completed:
        """The command was done; what it printed went to `on_line`, or to the log.

        Raises:
            NoRepository: there is none.
            Refused: wrong password, or no access.
            Unsafe: the repository is damaged.
            Retryable: it is locked, full, or does not answer.
        """
        return self._checked(lambda: self._run(arguments, on_line))

    def ask(self, *arguments: str, on_line: Callable[[str], None] | None = None) -> Any:
        """Return what the command, which only reads, answers in JSON. Raises as `run`."""
        argv = self._argv("--no-lock", *arguments)
        answer = self._checked(lambda: self._programs.ask(argv, env=self._all(), on_line=on_line)).stdout
        try:
            return json.loads(answer)
        except ValueError:
            raise Retryable(
                f"restic did not answer {arguments[0]!r} in JSON",
                on=self.location,
                next_action="run this again; then try it by hand",
            ) from None

    def wrong(self) -> tuple[str, ...]:
        """Return what is wrong with the repository, one sentence each; every byte of it is read. Raises as `run`."""
        try:
            self.run("check", "--read-data")
        except Unsafe as error:
            said = [line.strip() for line in str(error.facts["restic says"]).splitlines()]
            found = dict.fromkeys(line for line in said if not _SILENT.search(line))
            return tuple(found) or (f"restic finds {self.location} damaged.",)
        return ()

    def _checked(self, run: Callable[[], Completed]) -> Completed:
        done = run()
        if done.exit_code != 0 and _LOCKED in "\n".join(done.tail):
            # Only locks of processes that are dead, or have been silent for half an hour, are removed by this.
            self._run(("unlock",), None)
            done = run()
        if done.exit_code != 0:
            raise self._meaning(done)
        return done

    def _run(self, arguments: tuple[str, ...], on_line: Callable[[str], None] | None) -> Completed:
        lost: list[str] = []
        stop = threading.Event()

        def read(line: str) -> None:
            if _LOST.search(line):
                lost.append(line)
                stop.set()
            if on_line is not None:
                on_line(line)

        try:
            return self._programs.run(self._argv(*arguments), env=self._all(), on_line=read, stop=stop)
        except Refused:
            if not lost:
                raise
            return Completed(1, "", tuple(lost), 0.0)

    def _argv(self, *arguments: str) -> list[str]:
        # Without its cache, which would show what the repository held once.
        return ["restic", "--no-cache", "--repo", self.location, *arguments]

    def _all(self) -> dict[str, str]:
        return {"RESTIC_PROGRESS_FPS": "1", **self._environment()}

    def _meaning(self, done: Completed) -> SlipwayError | NoRepository:
        said = "\n".join(done.tail).strip() or f"(nothing; it ended with exit code {done.exit_code})"
        facts = {"restic says": said}
        if _NO_REPOSITORY.search(said):
            return NoRepository(self.location)
        if _DISK_FULL in said:
            return Retryable(
                "a disk is full", on=self.location, next_action="free space there, then run this again", facts=facts
            )
        if _NOT_ALLOWED.search(said):
            return Refused(
                "restic's repository cannot be used: wrong password, or no access",
                on=self.location,
                next_action="name the password that it was made with; see that Slipway's user may read and write it",
                facts=facts,
            )
        if _LOCKED not in said and (_LOST.search(said) or (done.exit_code > 0 and _DAMAGED.search(said))):
            return Unsafe(
                "restic's repository is damaged",
                on=self.location,
                state="nothing of it was used, and nothing was changed",
                next_action="restore from the other repository; find out what changed this one",
                facts=facts,
            )
        return Retryable(
            "restic's repository is locked by another process"
            if _LOCKED in said
            else f"restic failed with exit code {done.exit_code}",
            on=self.location,
            next_action="wait for the other process to end; 'restic list locks' shows it"
            if _LOCKED in said
            else "check that the repository's disk or service answers, then run this again",
            facts=facts,
        )
