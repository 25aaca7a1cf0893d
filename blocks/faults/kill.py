"""The fault `kill`: a process is gone at once, as after a crash or for want of memory."""

import signal
import time
from pathlib import Path

from pydantic import Field, model_validator

from blocks.context import Context
from blocks.faults import processes
from blocks.shell import detach
from tasks.common.errors import Refused, Retryable
from tasks.common.model import Problem, StrictModel, refuse
from tasks.common.units import PositiveDuration
from tasks.drill.model import Undone
from tasks.drill.ports import Aim

_GONE_WITHIN_S = 5.0
_POLL_S = 0.02


class ProcessSettings(StrictModel):
    """Which process is meant."""

    pid_file: str | None = Field(default=None, description="file whose first word is the process's number")
    port: int | str | None = Field(default=None, description="port of this machine that it listens on")
    children: bool = Field(default=False, description="what it has started, too")

    @model_validator(mode="after")
    def _one(self) -> "ProcessSettings":
        if (self.pid_file is None) is (self.port is None):
            found = "neither pid_file nor port" if self.port is None else "both pid_file and port"
            refuse("ProcessSettings", [Problem(("pid_file",), found, "one of them")])
        return self

    def find(self, context: Context) -> processes.Mark:
        """Return the process.

        Raises:
            Refused: there is none.
        """
        on = self.pid_file or f"port {self.port}"
        if self.port is not None and not str(self.port).isdecimal():
            raise Refused(f"{self.port!r} is no port", on=on, next_action="write the number of a port")
        file = context.resolve(self.pid_file) if self.pid_file is not None else None
        return processes.find(file, int(self.port) if self.port is not None else None, on)


class Kill:
    """Implements `Fault`: SIGKILL. Who supervises the process starts it again, or `start` does when it is undone.

    Args:
        settings: which process.
        context: where relative paths start.
    """

    class Settings(ProcessSettings):
        """Settings of the driver `kill`."""

        start: list[str] = Field(
            default_factory=list, description="program and arguments that start it again, where nobody supervises it"
        )
        start_log: str = Field(default="/dev/null", description="file that takes what that prints")
        start_within_s: PositiveDuration = Field(
            default=30.0, alias="start_within", description="not running for this long after the start: not undone"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings, self._context = settings, context

    @property
    def reversible(self) -> bool:
        """Return that it is."""
        return True

    def aim(self) -> Aim:
        """Return which process, and what it has started if that is hit, too.

        Raises:
            Refused: there is none.
        """
        root = self._settings.find(self._context)
        found = processes.with_descendants([root]) if self._settings.children else [root]
        return {"processes": processes.as_data(found)}

    def inject(self, aim: Aim) -> None:
        """None of them runs. *Idempotent:* yes.

        Raises:
            Retryable: the kernel does not let go of one, as where its disk hangs.
        """
        marks = processes.marks_of(aim)
        for each in marks:
            processes.send(each, signal.SIGKILL)
        deadline = time.monotonic() + _GONE_WITHIN_S
        while left := [each.pid for each in marks if processes.lives(each)]:
            if time.monotonic() > deadline:
                raise Retryable(
                    "processes were killed, and have not ended",
                    on=", ".join(map(str, left)),
                    state="they end as soon as the kernel lets go of them",
                    next_action="look at what they wait for: a disk that hangs?",
                )
            time.sleep(_POLL_S)

    def injected(self, aim: Aim) -> bool:
        """Return whether none of them runs."""
        return not any(map(processes.lives, processes.marks_of(aim)))

    def undo(self, aim: Aim) -> Undone:
        """It runs again, if it is we who start it. *Idempotent:* yes.

        Raises:
            Refused: the program that starts it is missing.
            Retryable: it was started, and does not run in time.
        """
        if not self.injected(aim):
            return Undone("it was not killed")
        if not self._settings.start:
            return Undone("whoever supervises it starts it again")
        if self._runs():
            return Undone("it runs again already")
        started = detach(self._settings.start, cwd=self._context.base, log=Path(self._settings.start_log))
        deadline = time.monotonic() + self._settings.start_within_s
        while not self._runs():
            if time.monotonic() > deadline:
                raise Retryable(
                    f"what was killed was started again (process {started}), and does not run in time",
                    on=" ".join(self._settings.start),
                    state="it may come up yet",
                    next_action="look at its log, and start it by hand",
                )
            time.sleep(_POLL_S)
        return Undone("it was started again")

    def _runs(self) -> bool:
        try:
            self._settings.find(self._context)
        except Refused:
            return False
        return True
