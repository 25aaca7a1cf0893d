"""What people do without Slipway: the same programs with the same options, one command after another, timed."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from psycopg.pq import PGconn, Ping

from blocks.postgresql import USERS, find_binaries
from blocks.scratch.fence import FORCED
from blocks.users import as_user, find_user, own
from tasks.common.errors import Refused
from tests.bench.source import Source
from tests.support.postgresql import SUPERUSER
from tests.support.processes import running, wait_until

_PORT = "5432"
_TICK_S = 0.01


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds the work took."""
    began_s = time.monotonic()
    work()
    return time.monotonic() - began_s


def run(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """A command has ended well, as the user that the servers run as; returns what it has printed.

    Raises:
        Refused: it failed.
    """
    command = [*as_user(find_user(USERS)), *argv]
    done = subprocess.run(command, cwd="/", env=env and dict(env), capture_output=True, text=True)
    if done.returncode:
        raise Refused(
            f"{argv[0]} failed",
            on="a bare command",
            next_action="do what its last lines ask for",
            facts={"last lines": (done.stdout + done.stderr)[-1000:]},
        )
    return done.stdout


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs."""
    return str(find_binaries() / name)


def pgbackrest(source: Source, *arguments: str) -> str:
    """One of pgBackRest's commands has ended well, with the configuration that Slipway has written."""
    argv = ["pgbackrest", f"--config={source.config}", f"--stanza={source.stanza}", *arguments]
    return run(argv, {**source.environment, "HOME": "/", "TZ": "UTC"})


@contextlib.contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """An empty folder of the servers' user is there for the length of a `with`."""
    shutil.rmtree(folder, ignore_errors=True)
    own(folder, find_user(USERS))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def served(data: Path, room: Path) -> Iterator[dict[str, str]]:
    """A server on a restored folder answers, with the options of a scratch server; yields the way to it.

    It is ended with its fast shutdown, and by its process id also on failure.
    """
    for name, text in (("postgresql.conf", ""), ("pg_hba.conf", "local all all trust\n"), ("pg_ident.conf", "")):
        (room / name).write_text(text)
        (room / name).chmod(0o644)
    options = {
        **FORCED,
        "config_file": str(room / "postgresql.conf"),
        "hba_file": str(room / "pg_hba.conf"),
        "ident_file": str(room / "pg_ident.conf"),
        "unix_socket_directories": str(room),
        "port": _PORT,
    }
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    argv = [*as_user(find_user(USERS)), program("postgres"), "-D", str(data), *flags]
    address = f"host={room} port={_PORT} user={SUPERUSER} dbname=template1".encode()
    with running(argv, log=room / "server.log", env=None) as process:

        def answers() -> bool:
            assert process.poll() is None, (room / "server.log").read_text(errors="replace")[-1000:]
            return PGconn.ping(address) == Ping.OK

        wait_until(answers, within_s=600, what="the restored server", every_s=_TICK_S)
        yield {**os.environ, "PGHOST": str(room), "PGPORT": _PORT, "PGUSER": SUPERUSER}
        process.send_signal(signal.SIGINT)
        process.wait(60)


def size_of(folder: Path) -> int:
    """Return how many bytes the files of a folder have."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
