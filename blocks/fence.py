"""Fencing: what has seen a lease's token takes no change from the holder of an older one.

The highest token stands in a file beside what is changed, under a lock that is held for the length of one change. A
holder that was paused before a change finds a newer token when it wakes up; one that was paused within a change keeps
the lock, so that nobody takes it for gone, and is named to whoever waits.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blocks.files import replacing, system_errors
from tasks.common.errors import Refused, Retryable
from tasks.common.lease import Grant, LeaseLost

_LOCK_WITHIN_S = 10.0
_POLL_S = 0.01
_TOKEN = re.compile(rb"[0-9]{1,19}\n")
_STOPPED = ("T", "t")


class Fence:
    """The place where one resource keeps the newest lease that it has seen; processes on one machine share it.

    Who removes the file makes the resource forget. A process that is killed leaves no lock behind.

    Args:
        file: where the token stands; the lock is beside it, with '.lock' at its end, and is never removed.
        grant: the right to change the resource; None: it is only observed.
        on: what is fenced, for errors.
        makes_folder: the folder of the file is made when it is missing; else that is an error.
    """

    def __init__(self, file: Path, grant: Grant | None, on: str, *, makes_folder: bool = False) -> None:
        self._file = file
        self._lock = file.with_name(f"{file.name}.lock")
        self._grant = grant
        self._on = on
        self._makes_folder = makes_folder

    def claim(self) -> None:
        """No holder of an older lease can change anything here any more.

        *Idempotent:* yes.

        Raises:
            As `changing`.
        """
        with self.changing():
            pass

    @contextmanager
    def changing(self) -> Iterator[None]:
        """What happens within the `with` happens under the newest lease: one short change, and never a wait.

        Not to be nested: the inner one would wait for the outer one.

        Raises:
            LeaseLost: the holder of a newer lease has been here, or the grant says that the lease is lost.
            Refused: there is no grant, or the fence's files cannot be read or written.
            Retryable: another process does not end its change.
        """
        grant = held(self._grant, self._on)
        with self._locked(grant.token):
            seen = self._seen()
            refuse_older(grant.token, seen, self._on)
            if grant.token > seen:
                with self._system_errors(), replacing(self._file) as file:
                    file.write(b"%d\n" % grant.token)
            yield

    @contextmanager
    def _locked(self, token: int) -> Iterator[None]:
        with self._system_errors():
            if self._makes_folder:
                self._lock.parent.mkdir(parents=True, exist_ok=True)
            # Not inherited by programs that are started meanwhile: the lock would outlive this process with them.
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            deadline = time.monotonic() + _LOCK_WITHIN_S
            while not self._try_lock(descriptor):
                if time.monotonic() >= deadline:
                    # Whoever is outdated must not be told to kill the rightful holder.
                    refuse_older(token, self._seen(), self._on)
                    raise self._in_the_way(descriptor)
                time.sleep(_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def _try_lock(self, descriptor: int) -> bool:
        with self._system_errors():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def _seen(self) -> int:
        """Return the newest token that was here; 0 where there was none."""
        with self._system_errors():
            try:
                content = self._file.read_bytes()
            except FileNotFoundError:
                return 0
        if not _TOKEN.fullmatch(content):
            raise Refused(
                "the file that says which lease was here last is damaged",
                on=str(self._file),
                next_action=f"see that no other run of Slipway for {self._on} is alive, paused ones included; "
                "then remove that file, and run this again",
            )
        return int(content)

    def _in_the_way(self, descriptor: int) -> Retryable:
        process = _holder(descriptor)
        state = "nothing was changed; whether that process's change has happened is not known"
        if process is None:
            return Retryable(
                f"another process is in the middle of a change, and has not ended it within {_LOCK_WITHIN_S:g} s",
                on=self._on,
                state=state,
                next_action=f"find it with 'fuser -v {self._lock}' on every machine and in every container that has "
                "this folder; end it (kill -9), then run this again",
            )
        pid, name, stopped = process
        return Retryable(
            f"process {pid} ({name}) of another lease is {'stopped' if stopped else 'still'} in the middle of a change",
            on=self._on,
            state=state,
            next_action=f"end it: kill -9 {pid}; then run this again"
            if stopped
            else f"see what process {pid} waits for; if it does not go on, end it: kill -9 {pid}; then run this again",
            facts={"waited": f"{_LOCK_WITHIN_S:g} s", "lock": self._lock},
        )

    @contextmanager
    def _system_errors(self) -> Iterator[None]:
        with system_errors("the token of the lease cannot be persisted", self._file):
            yield


def held(grant: Grant | None, on: str) -> Grant:
    """Return the grant, whose lease is held as far as is known.

    Raises:
        Refused: there is none.
        LeaseLost: somebody else has the lease.
    """
    if grant is None:
        raise Refused(
            "nobody holds a lease for this change",
            on=on,
            next_action="start the flow that is meant to change this (release, rollback, reconcile): it takes the "
            "lease first",
        )
    grant.require()
    return grant


def refuse_older(token: int, seen: int, on: str) -> None:
    """The token is at least as new as the newest one that was seen.

    Raises:
        LeaseLost: it is older.
    """
    if token < seen:
        raise LeaseLost(
            f"lease {token} is not valid any more: the holder of lease {seen} has been here",
            on=on,
            state="nothing more was changed; what was done before stands, and is for the newer holder to go on from",
            next_action="see what the run that holds the lease now does; start this one again if it is still wanted",
            facts={"token": token, "newest token": seen},
        )


def _holder(descriptor: int) -> tuple[int, str, bool] | None:
    """Return process id, name and whether it is stopped, of who has locked the file; None if that cannot be found out.

    It is not written into the file by whoever locks it: a process that was stopped in between would let somebody else
    be taken for it, and be killed.

    *Source:* proc(5), /proc/locks: kind, process, device and inode of every lock.
    """
    found = os.fstat(descriptor)
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            match = re.fullmatch(r"\d+: FLOCK +ADVISORY +WRITE +(\d+) (\S+) .*", line)
            if match and match[2] == file:
                stat = Path("/proc", match[1], "stat").read_text(encoding="utf-8", errors="replace")
                # The name, in brackets, may hold blanks and brackets.
                name, _, rest = stat.partition(" (")[2].rpartition(") ")
                return int(match[1]), name, rest.startswith(_STOPPED)
    return None
