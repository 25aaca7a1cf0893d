"""Who runs a command that is trusted with nothing."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.common.errors import Unsafe

_END_WITHIN_S = 10.0
_LINES_AT_MOST = 2000


@dataclass(frozen=True)
class Guest:
    """Another user of this machine, or the worker's own without its rights to become another one.

    Args:
        home: a folder of its own.
        scratch: another one, for temporary files.
        ends_at_s: its commands are ended then, by `time.monotonic`.
        uid: the user; None for the worker's own.
        gid: the user's only group, a number that nobody else has: what the guest has started is known by it, as no
            process without rights can change it.
        alone: one of its commands runs at a time, so that everything it has started ends with each.
    """

    home: Path
    scratch: Path
    ends_at_s: float
    uid: int | None = None
    gid: int | None = None
    alone: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """Return what its commands are told in place of the worker's own."""
        return {"HOME": str(self.home), "TMPDIR": str(self.scratch)}

    def argv(self, setpriv: str, env: str, command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        """Return what is started in place of a command, with an empty environment.

        The guest's variables count only once its rights are gone: LD_PRELOAD would else be obeyed with the worker's.

        Args:
            setpriv: the program of that name.
            env: the program of that name.
            command: program and arguments.
            environment: all of its variables; never a secret, as arguments can be read by everybody.
        """
        user = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"] if self.uid is not None else []
        variables = [f"{name}={value}" for name, value in environment.items()]
        return [setpriv, *user, "--no-new-privs", "--", env, "-i", *variables, *command]

    def end_all(self) -> None:
        """Nothing runs that it has started, wherever it has hidden; of the worker's own user that is not known.

        *Idempotent:* yes.

        Raises:
            Unsafe: some could not be ended.
        """
        if self.gid is None:
            return
        deadline = time.monotonic() + _END_WITHIN_S
        while found := members_of(self.gid):
            for process in found:
                _kill(process, self.gid)
            if time.monotonic() > deadline:
                raise Unsafe(
                    "processes that a check has left cannot be ended",
                    on=", ".join(map(str, found)),
                    state="they may still be running, without rights",
                    next_action=f"end them as root: pkill -KILL -G {self.gid}",
                )
            time.sleep(0.01)

    def bounded(self, on_line: Callable[[str], None] | None) -> Callable[[str], None] | None:
        """Return what hands on the first lines of a command, so that it cannot fill anybody's log."""
        if on_line is None:
            return None
        seen = 0

        def hand_on(line: str) -> None:
            nonlocal seen
            seen += 1
            if seen <= _LINES_AT_MOST:
                on_line(line)
            elif seen == _LINES_AT_MOST + 1:
                on_line(f"[more than {_LINES_AT_MOST} lines: the rest is not shown]")

        return hand_on


def members_of(group: int) -> list[int]:
    """Return the processes that run with this group as their own, those that have ended left out."""
    return [int(name.name) for name in Path("/proc").iterdir() if name.name.isdecimal() and _is_of(name, group)]


def _is_of(process: Path, group: int) -> bool:
    try:
        lines = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    except OSError:
        return False
    return lines.get("Gid", "").split()[:1] == [str(group)] and not lines.get("State", "").startswith(("Z", "X"))


def _kill(process: int, group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(process)
        try:
            # Looked at again behind the handle: the number may be a stranger's by now.
            if _is_of(Path("/proc", str(process)), group):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
