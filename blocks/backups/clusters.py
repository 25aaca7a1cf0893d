"""Restored PostgreSQL clusters: cut off from everything that the source reached."""

from collections.abc import Mapping
from pathlib import Path

from blocks.files import system_errors

_CUT_OFF = {
    "archive_mode": "off",
    "archive_command": "",
    "archive_library": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    # A commit would wait for ever for a standby that is not there.
    "synchronous_standby_names": "",
    # A subscription would take changes from its publisher, and move the original's slot on.
    "max_logical_replication_workers": "0",
}


_SAYS = "# Of the restore: this copy is nobody's standby, and archives nothing."


def cut_off(data: Path, recovery: Mapping[str, str]) -> None:
    """A cluster that has never been started since it was restored neither archives nor reaches another server.

    The settings stand at the end of postgresql.auto.conf, where they count more than what the source had.

    Args:
        data: its data folder.
        recovery: settings for its recovery, in addition.

    *Idempotent:* yes, in what is true afterwards.
    """
    lines = "".join(f"{name} = '{_quoted(value)}'\n" for name, value in {**_CUT_OFF, **recovery}.items())
    with system_errors("the restored cluster's settings cannot be written", data):
        with (data / "postgresql.auto.conf").open("a") as file:
            file.write(f"\n{_SAYS}\n{lines}")
        (data / "standby.signal").unlink(missing_ok=True)


def is_cut_off(data: Path) -> bool:
    """Return whether a cluster has the settings of `cut_off`: it archives nothing, and is nobody's standby."""
    file = data / "postgresql.auto.conf"
    return file.exists() and _SAYS in file.read_text(errors="replace")


def _quoted(value: str) -> str:
    return value.replace("'", "''")
