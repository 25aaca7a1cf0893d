"""One run of a flow in a process that counts its ticks, and strikes at a moment."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect import Task
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from blocks import shell
from blocks.catalogue import PostgresqlCatalogue
from flows import backup as backup_flow
from flows import verify_backup as verify_flow
from tasks.backup.request import BackupRequest
from tasks.common.errors import SlipwayError
from tasks.verification import steps as verification_steps
from tasks.verification.request import VerifyRequest
from tests.support.kills import REFUSED, UNEXPECTED, Phase, Target

_FILES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.chown"}
_PREFIXES = {"setpriv", "env"}


class Watch:
    """Counts the ticks of one phase, and strikes.

    Args:
        job: what is to be done; as JSON.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._folders = tuple(job["folders"])
        self._thread = threading.get_ident()
        self._began_s = 0.0
        self._ticks: dict[str, list[tuple[str, float]]] = {}
        self._phase = ""

    def enter(self, phase: str) -> None:
        """A phase has begun, and the one before has ended; '' for none."""
        self.tick("end of the phase")
        self._phase, self._began_s = phase, time.monotonic()
        self.tick("start of the phase")
        if not phase:
            Path(self._job["ticks"]).write_text(json.dumps(self._ticks))

    def tick(self, name: str) -> None:
        """A piece of the phase's work is done; where it is the one that was chosen, somebody is struck."""
        if not self._phase or threading.get_ident() != self._thread:
            return
        ticks = self._ticks.setdefault(self._phase, [])
        ticks.append((name, time.monotonic() - self._began_s))
        moment = self._job.get("moment")
        if moment is not None and (self._phase, len(ticks) - 1) == (self._job["phase"], moment["tick"]):
            timer = threading.Timer(moment["after_s"], self._strike)
            timer.daemon = True
            timer.start()

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """Python tells of something that it does."""
        if event not in _FILES or not self._phase or threading.get_ident() != self._thread:
            return
        name = os.fsdecode(args[0]) if isinstance(args[0], str | bytes | os.PathLike) else ""
        # Whoever removes a whole tree names files by their folder's descriptor.
        if name.startswith(self._folders) or (event in ("os.remove", "os.rmdir") and name and not name.startswith("/")):
            self.tick(f"{event} {name}")

    def _strike(self) -> None:
        match Target(self._job["target"]):
            case Target.WORKER:
                self._note()
                os.killpg(os.getpgrp(), signal.SIGKILL)
            case Target.POSTGRESQL:
                self._note()
                _kill(self._job["postmaster"])
            case Target.STORE:
                self._note()
                Path(self._job["store"]).rename(self._job["store"] + ".away")
            case Target.ENGINE:
                self._kill_found(lambda name, command: name != "postgres")
            case Target.SCRATCH:
                self._kill_found(lambda name, command: name == "postgres" and b"-D" in command)

    def _note(self) -> None:
        last = self._ticks[self._job["phase"]][-1][0]
        Path(self._job["struck"]).write_text(json.dumps({"last": last}))

    def _kill_found(self, wanted: Callable[[str, list[bytes]], bool]) -> None:
        """The programs that are wanted were killed, as soon as there are any."""
        while True:
            found = [number for number in _below(os.getpid()) if wanted(*_named(number))]
            if found:
                self._note()
                for number in found:
                    _kill(number)
                return
            time.sleep(0.001)


def _kill(number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def _below(process: int) -> list[int]:
    """Return the processes that this one has started, and those that they have; not what a server has started."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [process]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            if _named(child)[0] != "postgres":
                waiting.append(child)
    return found


def _named(number: int) -> tuple[str, list[bytes]]:
    place = Path("/proc", str(number))
    try:
        return (place / "comm").read_text().strip(), (place / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "", []


def _program(argv: list[str]) -> str:
    """Return 'pgbackrest backup'."""
    names = [Path(each).name for each in argv if not each.startswith("-") and "=" not in each]
    words = [each for each in names if each not in _PREFIXES and each != "KILL"]
    return " ".join(words[:2] if words[0] == "pgbackrest" else words[:1])


def _watch_programs(watch: Watch) -> None:
    real = shell.run

    def run(argv: Any, **how: Any) -> shell.Completed:
        watch.tick(f"begin {_program(list(argv))}")
        try:
            return real(argv, **how)
        finally:
            watch.tick(f"end {_program(list(argv))}")

    shell.run = run


def _watch_catalogue(watch: Watch) -> None:
    for name in ("add", "note", "expired"):
        real = getattr(PostgresqlCatalogue, name)

        def call(self: Any, *args: Any, real: Any = real, name: str = name) -> None:
            watch.tick(f"catalogue: {name}")
            real(self, *args)
            watch.tick(f"catalogue: {name} done")

        setattr(PostgresqlCatalogue, name, call)


def _watch_steps(watch: Watch) -> None:
    """The watch is told when a phase begins; tasks do not wait between their tries."""
    begins = {"take": Phase.BACKUP, "copy": Phase.COPY, "expire": Phase.EXPIRY}
    for name, phase in begins.items():
        setattr(backup_flow, name, _entering(watch, phase, getattr(backup_flow, name), once=name == "expire"))
    observe = verification_steps.observe_source
    verification_steps.observe_source = _entering(watch, Phase.VERIFICATION, observe)  # type: ignore[assignment]
    for module in (backup_flow, verification_steps):
        for each in vars(module).values():
            if isinstance(each, Task) and each.retries:
                each.retry_delay_seconds = [0.05] * each.retries


def _entering(watch: Watch, phase: Phase, step: Any, *, once: bool = False) -> Callable[..., Any]:
    entered = []
    if isinstance(step, Task) and step.retries:
        step.retry_delay_seconds = [0.05] * step.retries

    def enter(*args: Any) -> Any:
        if not (once and entered):
            entered.append(phase)
            watch.enter(phase)
        return step(*args)

    return enter


def play(job: dict[str, Any]) -> int:
    """The run has ended; returns the exit code."""
    watch = Watch(job)
    _watch_programs(watch)
    _watch_catalogue(watch)
    _watch_steps(watch)
    sys.addaudithook(watch.hear)
    with temporary_settings({PREFECT_API_URL: job["api"], PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            if job["flow"] == "backup":
                backup_flow.backup(BackupRequest(plan=job["plan"], estate=job["estate"]))
            else:
                verify_flow.verify_backup(VerifyRequest(plan=job["plan"], estate=job["estate"]))
        except SlipwayError as error:
            Path(job["error"]).write_text(f"{type(error).__name__}: {error.what}")
            return REFUSED
        except BaseException as error:
            Path(job["error"]).write_text(f"unexpected {type(error).__name__}: {error}")
            return UNEXPECTED
        finally:
            watch.enter("")
    return 0
