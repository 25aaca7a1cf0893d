"""Another process that holds a lease, and does what it is told."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tests.support.processes import end, wait_until

SCOPE = "campus/production"

PROGRAM = """
import os, sys, time
from pathlib import Path
from blocks.context import Context
from blocks.lease_keeper import KeptLease
from blocks.ledger import PostgresqlLedger
from tasks.common.errors import SlipwayError
from tasks.common.lease import Lease

settings = PostgresqlLedger.Settings.model_validate({"dsn": "env:LEDGER", "connect_timeout": "5s"})
leases = PostgresqlLedger(settings, Context(base=Path())).leases
holder, kept = sys.argv[1], None

def tell(*words):
    sys.stdout.write(" ".join(str(word).replace("\\n", " ") for word in words) + "\\n")
    sys.stdout.flush()

def try_for(scope):
    found = leases.acquire(scope, holder, 60)
    if not isinstance(found, Lease):
        leases.leave(scope, holder)
        return f"waits {found.held_by}"
    return f"has {found.token}"

def keep(scope, ttl_s):
    global kept
    lease = leases.acquire(scope, holder, float(ttl_s))
    kept = KeptLease(leases, lease, float(ttl_s), lambda line: tell("says", line))
    return f"has {lease.token}"

def require():
    kept.require()
    return "held"

def stand_in_a_transaction(scope):
    with leases._locked(scope, "not known") as connection:
        tell("inside")
        sys.stdin.readline()
        connection.execute("select 1")

def clock():
    return time.time()

tell("ready")
for line in sys.stdin:
    name, *words = line.split()
    try:
        tell(name, *words, "->", globals()[name](*words))
    except SlipwayError as error:
        tell(name, *words, "->", type(error).__name__, error.what, "|", error.state)
"""


class Holder:
    """A process that was started, and what it has printed. Use `holding`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        self._read = 0

    @property
    def lines(self) -> list[str]:
        """Return every whole line that the process has printed up to now."""
        return self._log.read_text().rpartition("\n")[0].splitlines()

    @property
    def said(self) -> list[str]:
        """Return what its keeper said."""
        return [line.removeprefix("says ") for line in self.lines if line.startswith("says ")]

    def tell(self, line: str) -> None:
        """The process is told to do something."""
        pipe: IO[bytes] | None = self.process.stdin
        assert pipe is not None
        pipe.write(f"{line}\n".encode())
        pipe.flush()

    def answer(self, *, to: str) -> str:
        """Return what came of the oldest request of that name that was not asked about."""

        def answered() -> list[str]:
            return [line for line in self.lines[self._read :] if line.startswith(f"{to} ") or line == to]

        try:
            found = wait_until(answered, what=f"the answer to {to}")[0]
        except AssertionError as error:
            raise AssertionError(f"{error}; it printed {self.lines}") from None
        self._read = self.lines.index(found, self._read) + 1
        return found.rpartition(" -> ")[2]

    def ask(self, line: str) -> str:
        """Return what came of a request."""
        self.tell(line)
        return self.answer(to=line.partition(" ")[0])

    def pause(self) -> None:
        """The process stands still, all its threads."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """The process goes on."""
        os.kill(self.process.pid, signal.SIGCONT)


@contextlib.contextmanager
def holding(folder: Path, address: str, name: str, env: dict[str, str] | None = None) -> Iterator[Holder]:
    """A process of that name, which knows the ledger, runs for the length of a `with`."""
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, name],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {}), "LEDGER": address},
            start_new_session=True,
        )
    try:
        holder = Holder(process, log)
        holder.answer(to="ready")
        yield holder
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        # Asked first: a preloaded libfaketime removes its shared memory only when its program ends by itself.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        end(process)


class Clock:
    """A clock that can be set for the processes that are started with its `env`; none of the machine's is."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "clock"
        self.set(0)
        self.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            # Nobody can set this one on a real machine either.
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset_s: int) -> None:
        """The clock is so many seconds ahead of the machine's."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.chmod(0o644)
        new.rename(self._file)
