"""Rooms for throw-away servers: a folder that one process holds, and that is cleared away when that one has died."""

import contextlib
import fcntl
import os
import selectors
import shutil
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

from blocks.files import system_errors
from blocks.postgresql import USERS
from blocks.users import find_user, own
from tasks.common.errors import Refused, Unsafe

PID_FILE = "server.pid"
"""In a room: the process that was started there."""
_POSTMASTER = "postmaster.pid"
_PREFIX = "room-"
_KILLED_WITHIN_S = 10.0
_REMOVALS = 5
# Linux: a socket's path has 108 bytes with its closing zero, and the socket is '.s.PGSQL.5432' in the room.
_ROOM_PATH_BYTES = 107 - len("/.s.PGSQL.5432")


class Room:
    """A folder below a place for rooms; held from its making until `leave`, or the end of this process.

    Args:
        place: the folder that all rooms are in.
        for_server: it belongs to the user that PostgreSQL's servers run as; else it is ours alone.

    Raises:
        Refused: there can be no room.
    """

    def __init__(self, place: Path, *, for_server: bool = True) -> None:
        self.folder = place / f"{_PREFIX}{uuid.uuid4().hex[:12]}"
        if for_server and room_problem(self.folder):
            raise Refused(
                room_problem(self.folder),
                on=str(place),
                next_action=f"choose a folder whose path has {_ROOM_PATH_BYTES - 18} characters at most",
            )
        with system_errors("the folder for a scratch server cannot be made", place):
            place.mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] | None = _locked(_lock_of(self.folder))
            own(self.folder, find_user(USERS) if for_server else None)

    def leave(self) -> None:
        """Nothing is left here: no server, no file. *Idempotent:* yes.

        Raises:
            Unsafe: the server could not be ended.
            Refused: a file could not be removed.
        """
        if self._lock is not None:
            _clear(self.folder)
            self._lock.close()
            self._lock = None


def room_problem(folder: Path) -> str:
    """Return why a folder cannot hold the socket of a server; '' if it can."""
    too_long = len(os.fsencode(folder)) > _ROOM_PATH_BYTES
    return "the path of the folder for scratch servers is too long for a socket" if too_long else ""


def clear_dead(place: Path) -> tuple[str, ...]:
    """Nothing is left of rooms whose process has died; returns what was removed. *Idempotent:* yes.

    Raises:
        Unsafe: a server could not be ended.
    """
    removed = []
    for name in sorted({path.name.removesuffix(".lock") for path in place.glob(f"{_PREFIX}*")}):
        folder = place / name
        lock = _locked(_lock_of(folder))
        if lock is not None:
            with lock:
                ended = _clear(folder)
            server = f" and its server (process {', '.join(map(str, ended))})" if ended else ""
            removed.append(f"{folder}{server}, left by a verification that has died")
    return tuple(removed)


def processes_of(folder: Path) -> list[int]:
    """Return the servers of a room that run, by the ids in its own files.

    An id may be a stranger's by now: a process counts only if its command line names the room.
    """
    files = [folder / PID_FILE, *folder.glob(f"*/{_POSTMASTER}")]
    return sorted({number for file in files if (number := _number(file)) and _is_of(number, folder)})


def works_in(folder: Path) -> bool:
    """Return whether any process that we may look at stands in the folder, as all of a PostgreSQL server's do."""
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and (process / "cwd").readlink() == folder:
                return True
    return False


def end(number: int, folder: Path, sent: signal.Signals, within_s: float) -> bool:
    """Return whether a room's server has ended within a time, after a signal; a stranger's process is left alone."""
    try:
        handle = os.pidfd_open(number)
    except ProcessLookupError:
        return True
    try:
        # Looked at again behind the handle: the number may have changed hands.
        if not _is_of(number, folder):
            return True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, sent)
            # One that was paused would never hear of it.
            signal.pidfd_send_signal(handle, signal.SIGCONT)
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            return bool(selector.select(within_s))
    finally:
        os.close(handle)


def _clear(folder: Path) -> list[int]:
    found = processes_of(folder)
    for number in found:
        # SIGQUIT: PostgreSQL's immediate shutdown, which ends its children, too. There is nothing to be kept.
        if not end(number, folder, signal.SIGQUIT, _KILLED_WITHIN_S) and not end(
            number, folder, signal.SIGKILL, _KILLED_WITHIN_S
        ):
            raise Unsafe(
                "a scratch server could not be ended",
                on=str(folder),
                state=f"process {number} may still be running; it is cut off, and serves nobody",
                next_action=f"end it as root: kill -KILL {number}",
            )
    _retried(lambda: shutil.rmtree(folder))
    _lock_of(folder).unlink(missing_ok=True)
    return found


def _retried(remove: Callable[[], None]) -> None:
    """Removed; a server's children may write for a moment after it has ended."""
    for left in reversed(range(_REMOVALS)):
        try:
            with contextlib.suppress(FileNotFoundError):
                remove()
            return
        except OSError as error:
            if not left:
                raise Refused(
                    f"the folder of a scratch server cannot be removed: {error.strerror}",
                    on=str(error.filename),
                    state="its server has ended",
                    next_action="remove the folder, as root if need be",
                ) from error
            time.sleep(0.1)


def _locked(path: Path) -> IO[bytes] | None:
    """Return the file, locked; None where somebody else has it."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _number(file: Path) -> int:
    """Return the first line as a number; 0 if there is none."""
    try:
        return int(file.read_text().split("\n")[0])
    except (OSError, ValueError):
        return 0


def _is_of(number: int, folder: Path) -> bool:
    try:
        command = Path("/proc", str(number), "cmdline").read_bytes()
    except OSError:
        return False
    return os.fsencode(folder) in command
