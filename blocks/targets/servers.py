"""The servers that run on one data folder, whoever has started them, and how they are ended."""

import os
import signal
from pathlib import Path

from blocks.scratch.rooms import end
from tasks.common.errors import Unsafe

_POSTMASTER = "postmaster.pid"
_PROGRAMS = (b"/postgres", b"/postmaster", b"/pg_ctl")
_KILLED_WITHIN_S = 10.0


def servers_of(data: Path) -> list[int]:
    """Return the processes that serve a data folder, or that are about to: nothing may happen to it meanwhile.

    A program that was started a moment ago has not written its number anywhere: all processes are looked at. One that
    was given the folder by its environment is found by the number that it has written.
    """
    wanted = os.fsencode(data)
    found = {number for number in _processes() if _serves(_command(number), wanted)}
    number = _written(data)
    if number and number not in found and _works_in(number, data):
        found.add(number)
    return sorted(found)


def end_servers(data: Path, sent: signal.Signals, within_s: float) -> None:
    """No server runs on the data folder. *Idempotent:* yes.

    Args:
        data: the folder.
        sent: SIGINT for a clean stop, SIGQUIT where nothing has to be kept.
        within_s: how long is waited for a clean stop; after that nothing is killed.

    Raises:
        Unsafe: one does not end.
    """
    for number in servers_of(data):
        if not end(number, data, sent, within_s) and sent is signal.SIGQUIT:
            end(number, data, signal.SIGKILL, _KILLED_WITHIN_S)
    # Asked anew: one whose command line does not name the folder was left alone.
    left = servers_of(data)
    if left:
        raise Unsafe(
            f"the server does not stop within {within_s:g} s",
            on=str(data),
            state=f"process {left[0]} was told to stop, and may take no new sessions; its folder is in its place",
            next_action="see in its log what it waits for; when it has stopped, start it again, or run this again",
        )


def end_programs(folder: Path) -> None:
    """No program works on a folder that it was given by name, as one does whose run was killed. *Idempotent:* yes.

    Args:
        folder: an absolute path that no other program is given.
    """
    wanted = os.fsencode(folder)
    for number in _processes():
        if any(part == wanted or part.endswith(b"=" + wanted) for part in _command(number)):
            end(number, folder, signal.SIGKILL, _KILLED_WITHIN_S)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _command(number: int) -> list[bytes]:
    try:
        return Path("/proc", str(number), "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _serves(command: list[bytes], data: bytes) -> bool:
    """Return whether a command line is that of a server on the folder, or of what starts one."""
    program = any(part.endswith(_PROGRAMS) or part in (b"postgres", b"pg_ctl") for part in command)
    return program and data in (part.rstrip(b"/").removeprefix(b"--pgdata=") for part in command)


def _written(data: Path) -> int:
    """Return the number that a server has written into its folder; 0 where there is none."""
    try:
        return int((data / _POSTMASTER).read_text().split("\n")[0])
    except (OSError, ValueError):
        return 0


def _works_in(number: int, data: Path) -> bool:
    """Return whether a process is in the folder, as a server is; where nobody may know, it counts as one."""
    try:
        return Path("/proc", str(number), "cwd").readlink() == data
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
