"""A PostgreSQL server on a restored folder that nobody but us can reach: by a socket in a closed folder alone."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from blocks import shell
from blocks.postgresql import USERS
from blocks.scratch.fence import FORCED
from blocks.scratch.rooms import PID_FILE
from blocks.users import as_user, find_user
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.verification.reading import without_contents

_TICK_S = 0.05
PORT = "5432"
"""Names the socket; nothing listens on a network."""
# A standby's configuration file may be one of the original's machine, and Debian's is not in the folder at all.
_TRUST = "local all all trust\nlocal replication all trust\n"
LOG = "server.log"
"""In a room: what its server says."""


def start(binaries: Path, data: Path, room: Path, settings: Mapping[str, str], prefix: Sequence[str]) -> int:
    """A server has been started on the folder, and listens on a socket in the room only; returns its process id.

    All configuration that came back with the folder is left aside, but for recovery settings in postgresql.auto.conf.
    *Idempotent:* no.

    Args:
        binaries: folder of the programs of the folder's version.
        data: the restored folder.
        room: a folder that nobody but the server's user can enter.
        settings: what counts beside `FORCED`, whatever the folder's own files say.
        prefix: stands in front of the command: what keeps it from the network.
    """
    for name, text in (("postgresql.conf", ""), ("pg_hba.conf", _TRUST), ("pg_ident.conf", "")):
        (room / name).write_text(text)
        (room / name).chmod(0o644)
    options = {
        **FORCED,
        "config_file": str(room / "postgresql.conf"),
        "hba_file": str(room / "pg_hba.conf"),
        "ident_file": str(room / "pg_ident.conf"),
        "unix_socket_directories": str(room),
        "port": PORT,
        **settings,
    }
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    server = [*as_user(find_user(USERS)), str(binaries / "postgres"), "-D", str(data), *flags]
    number = shell.detach([*prefix, *server], cwd=room, log=room / LOG)
    (room / PID_FILE).write_text(f"{number}\n")
    return number


def address_in(room: Path, superuser: str, database: str) -> str:
    """Return the address of a database of the server in the room, which holds no password."""
    return make_conninfo(host=str(room), port=PORT, user=superuser, dbname=database)


def wait_ready(
    number: int, data: Path, room: Path, superuser: str, within_s: float, redact: Callable[[str], str]
) -> None:
    """The server takes connections.

    Raises:
        Unsafe: it has ended by itself.
        Retryable: it was killed, or was not ready in its time.
    """
    address = address_in(room, superuser, "template1").encode()
    deadline = time.monotonic() + within_s
    while PGconn.ping(address) != Ping.OK:
        if ended(number):
            if _was_killed(number):
                raise killed(data)
            raise Unsafe(
                f"the copy's server does not start: {last_words(room / LOG, redact)}",
                on=str(data),
                state="what was restored is damaged or not complete, or needs what this machine has not",
                next_action="do not count on this backup: restore an older one, and take a new one now",
            )
        if time.monotonic() > deadline:
            raise Retryable(
                f"the copy's server was not ready within {within_s:g} s",
                on=str(data),
                next_action="look whether it still replays WAL; the bound is start_within of the server's settings",
            )
        time.sleep(_TICK_S)


def require_owner(data: Path) -> None:
    """The folder belongs to the user that its server runs as.

    Raises:
        Refused: it does not.
    """
    user = find_user(USERS)
    if user is not None and data.stat().st_uid != user.pw_uid:
        raise Refused(
            "the restored copy belongs to another user than the one that its server runs as",
            on=str(data),
            next_action=f"have the engine restore as {user.pw_name}",
        )


def recovers_by_itself(data: Path) -> None:
    """The folder is no standby: that would wait for its primary for ever. *Idempotent:* yes."""
    standby = data / "standby.signal"
    if standby.exists():
        standby.rename(data / "recovery.signal")


def last_words(log: Path, redact: Callable[[str], str]) -> str:
    """Return what a server's log says is wrong, without contents of rows."""
    lines = log.read_text(errors="replace").splitlines()[-200:] if log.exists() else []
    return redact(without_contents(lines)) or "it says nothing"


def ended(number: int) -> bool:
    """Return whether a process has ended; it may not have been waited for."""
    try:
        status = Path("/proc", str(number), "stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] in ("Z", "X")


def killed(data: Path) -> Retryable:
    """Return the error for a server that was killed, which says nothing of its folder."""
    return Retryable(
        "the copy's server was killed",
        on=str(data),
        next_action="look whether this machine was short of memory (the kernel's log), then run this again",
    )


def _was_killed(number: int) -> bool:
    """Return whether a process that has ended was killed with -9, as far as the system still knows."""
    try:
        status = Path("/proc", str(number), "stat").read_text()
    except OSError:
        return False
    # The last field is what waitpid(2) would give. *Source:* proc(5).
    return int(status.split()[-1]) & 0x7F == signal.SIGKILL
