"""Processes that faults hit, known by number and start, so that no stranger is ever hit in their place."""

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blocks.runtimes.listening import listeners
from tasks.common.errors import Refused

_PROC = Path("/proc")
_STOPPED = frozenset("Tt")
_GONE = frozenset("ZX")


@dataclass(frozen=True)
class Mark:
    """One process.

    Args:
        pid: its number, which is a stranger's one day.
        started: when it began, in ticks since the machine did: with it the number is unique until the next start.
    """

    pid: int
    started: int


def marks_of(aim: Mapping[str, Any]) -> list[Mark]:
    """Return the processes that an aim names."""
    return [Mark(**each) for each in aim["processes"]]


def as_data(marks: Iterable[Mark]) -> list[dict[str, int]]:
    """Return processes as an aim names them."""
    return [asdict(each) for each in marks]


def find(pid_file: Path | None, port: int | None, on: str) -> Mark:
    """Return the process that a file names, or that listens on a port.

    Raises:
        Refused: there is no such process.
    """
    if pid_file is not None:
        try:
            pid = int(pid_file.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            raise _none(f"{pid_file} names no process", on) from None
    else:
        assert port is not None
        pid = next(iter(sorted(listeners(port))), 0)
        if not pid:
            raise _none(f"nobody listens on port {port} of this machine", on)
    mark = mark_of(pid)
    if mark is None:
        raise _none(f"process {pid} has ended", on)
    return mark


def mark_of(pid: int) -> Mark | None:
    """Return the process of a number; None where there is none, or it has ended and was not waited for."""
    found = _stat(pid)
    return None if found is None or found[0] in _GONE else Mark(pid, found[1])


def lives(mark: Mark) -> bool:
    """Return whether this very process runs, stopped or not."""
    return mark_of(mark.pid) == mark


def is_stopped(mark: Mark) -> bool:
    """Return whether this very process is stopped."""
    found = _stat(mark.pid)
    return found is not None and found[0] in _STOPPED and found[1] == mark.started


def with_descendants(roots: Sequence[Mark]) -> list[Mark]:
    """Return the processes and all that they have started and that still are theirs, the elder before the younger."""
    children: dict[int, list[int]] = {}
    for pid in (int(each.name) for each in _PROC.iterdir() if each.name.isdecimal()):
        found = _stat(pid)
        if found is not None:
            children.setdefault(found[2], []).append(pid)
    known, queue = [], [each.pid for each in roots if lives(each)]
    while queue:
        mark = mark_of(queue.pop(0))
        if mark is not None and mark not in known:
            known.append(mark)
            queue += children.get(mark.pid, [])
    return known


def send(mark: Mark, number: signal.Signals) -> None:
    """The process has the signal, if it still is the one."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(mark.pid)
        try:
            # Looked at again behind the handle: the number may be a stranger's by now.
            if lives(mark):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def writers_under(folder: Path) -> list[Mark]:
    """Return the processes that have a file under a folder open for writing, or work in it."""
    device, found = folder.stat().st_dev, []
    for process in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            mark = mark_of(int(process.name))
            if mark is not None and any(_writes(each, device) for each in (process / "fd").iterdir()):
                found.append(mark)
    return found


def _writes(descriptor: Path, device: int) -> bool:
    try:
        if descriptor.stat().st_dev != device:
            return False
        facts = (descriptor.parent.parent / "fdinfo" / descriptor.name).read_text().splitlines()
    except OSError:
        return False
    flags = next((int(line.split()[1], 8) for line in facts if line.startswith("flags:")), 0)
    return flags & os.O_ACCMODE != os.O_RDONLY


def _stat(pid: int) -> tuple[str, int, int] | None:
    """Return state, start and parent. *Source:* proc(5), /proc/pid/stat; a name may hold blanks and brackets."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[19]), int(fields[1])


def _none(what: str, on: str) -> Refused:
    return Refused(what, on=on, next_action="check the setting, and that what it means runs; then practise again")
