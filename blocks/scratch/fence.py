"""What keeps a restored PostgreSQL from doing anything but answer us."""

import re
from collections.abc import Mapping
from pathlib import Path

from blocks import shell
from tasks.common.errors import SlipwayError, Unsafe

_TRY_WITHIN_S = 10.0
_RESTORE_COMMAND = re.compile(r"^\s*restore_command\s*=?\s*'(.+)'", re.MULTILINE)

FORCED: Mapping[str, str] = {
    "listen_addresses": "",
    # Of its own network and of those that it was a part of.
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "archive_mode": "off",
    "archive_command": "",
    "archive_library": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    # Work that starts by itself: libraries with workers, such as schedulers, and vacuum, which runs users' functions.
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "autovacuum": "off",
    # During the replay nobody can connect, and the original's limits need not be met.
    "hot_standby": "off",
    "recovery_target_action": "promote",
    # What its own configuration may ask of the original's machine.
    "shared_buffers": "128MB",
    "max_connections": "50",
    "huge_pages": "off",
    "ssl": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "external_pid_file": "",
    "default_transaction_read_only": "off",
}
"""Settings that count whatever the copy's own files say: arguments come before them.

*Source:* PostgreSQL 15 manual, section 20.1.
"""


def kernel_fence() -> tuple[list[str], str]:
    """Return what stands in front of a command that must not reach a network, and how that is called.

    Without root there is nothing, and that is said. *Source:* unshare(1), network_namespaces(7): a new one has only a
    loopback device, which is down. Sockets in files can still be reached by their path.
    """
    try:
        done = shell.run(["unshare", "--net", "true"], cwd=Path("/"), timeout_s=_TRY_WITHIN_S, redact=str)
    except SlipwayError as error:
        return [], f"not fenced off by the kernel: {error.what}"
    if done.exit_code != 0:
        return [], "not fenced off by the kernel: only root can give it a network of its own"
    return ["unshare", "--net", "--"], "in a network namespace of its own, which leads nowhere"


def fetches_wal(data: Path) -> bool:
    """Return whether the copy has WAL to fetch with a command, which may need the network."""
    # Written by the engine that has restored; our own configuration takes the place of all other files.
    auto = data / "postgresql.auto.conf"
    waits = (data / "recovery.signal").exists()
    return waits and auto.exists() and _RESTORE_COMMAND.search(auto.read_text(errors="replace")) is not None


def require_inside(data: Path) -> None:
    """Nothing in the copy leads out of it: a tablespace or a WAL folder elsewhere may be the original's.

    Raises:
        Unsafe: something does.
    """
    links = [data / "pg_wal", *(data / "pg_tblspc").glob("*")]
    outside = [path for path in links if path.is_symlink() and not path.resolve().is_relative_to(data.parent.resolve())]
    if outside:
        raise Unsafe(
            "the restored copy leads to folders outside of its own: a server on it could change the original's files",
            on=", ".join(f"{path.name} -> {path.resolve()}" for path in outside),
            state="no server was started on it",
            next_action="have the engine restore tablespaces and WAL into the copy's folder",
        )
