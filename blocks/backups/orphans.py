"""Programs that go on although the run that has started them was killed."""

import contextlib
import os
import selectors
import signal
from collections.abc import Iterator
from pathlib import Path

from tasks.common.errors import Unsafe

_WITHIN_S = 10.0


def end_orphans(program: str, folder: Path) -> tuple[int, ...]:
    """No process of the program works below the folder; returns those that were ended. *Idempotent:* yes.

    A program that is killed with its run may have forked: pg_basebackup's process for WAL goes on, keeps a slot of the
    source's, and writes into the folder that is about to be removed. Only who alone may change the folder calls this.

    Args:
        program: its name, as in /proc/PID/comm.
        folder: that its command line names.

    Raises:
        Unsafe: one could not be ended.
    """
    return tuple(number for number in _processes(program, folder) if _end(number, program, folder))


def _processes(program: str, folder: Path) -> Iterator[int]:
    numbers = sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
    return (number for number in numbers if _is_at_work(number, program, folder))


def _is_at_work(number: int, program: str, folder: Path) -> bool:
    place = Path("/proc", str(number))
    try:
        named = (place / "comm").read_text().strip() == program
        return named and os.fsencode(f"{folder}{os.sep}") in (place / "cmdline").read_bytes()
    except OSError:
        return False


def _end(number: int, program: str, folder: Path) -> bool:
    """Return whether it has ended by this; one that is gone already has not."""
    try:
        handle = os.pidfd_open(number)
    except ProcessLookupError:
        return False
    try:
        # Looked at again behind the handle: the number may have changed hands.
        if not _is_at_work(number, program, folder):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            if selector.select(_WITHIN_S):
                return True
    finally:
        os.close(handle)
    raise Unsafe(
        f"{program} of a run that has died could not be ended",
        on=str(folder),
        state=f"process {number} still works there",
        next_action=f"end it as root: kill -KILL {number}; then run this again",
    )
