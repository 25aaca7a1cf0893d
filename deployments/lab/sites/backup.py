"""Backups of site A's database and its WAL, in a repository at neither site: by pgBackRest, by one node's socket."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from blocks.postgresql import USERS
from blocks.users import find_user, own

STANZA = "campus-a"
KEY = "backup-key"
"""Name of the secret that all in the repository is encrypted with."""
SUPERUSER_DSN = "superuser"
"""Name of the address that a verification compares with."""
SOURCE = "a1"
"""The node that backups are taken from while it leads, and that they are restored into."""
_ARCHIVE = "pgbackrest-archive"  # pgBackRest looks for its name in archive_command
_ARCHIVED_WITHIN_S = 5


def folder(home: Path) -> Path:
    """Return the folder with the repository, and what pgBackRest needs."""
    return home / "backup"


def engine_folder(home: Path) -> Path:
    """Return the folder with pgBackRest's configuration, which the first backup writes."""
    return folder(home) / "engine"


def repository(home: Path) -> Path:
    """Return the folder that backups and WAL go to."""
    return folder(home) / "repository"


def sockets(run: Path, name: str) -> Path:
    """Return the folder of a node's socket."""
    return run / f"node-{name}"


def prepare(home: Path, run: Path, names: Sequence[str]) -> None:
    """There is a place for backups, and a program that hands WAL over. *Idempotent:* yes.

    Raises:
        Refused: we are root, and nobody else may run a server.
    """
    user = find_user(USERS)
    own(folder(home), user)
    for name in names:
        own(sockets(run, name), user)
    command = ["pgbackrest", f"--config={engine_folder(home) / 'pgbackrest.conf'}", f"--stanza={STANZA}"]
    script = folder(home) / _ARCHIVE
    # PostgreSQL runs it in the data folder: any node may lead, and pgBackRest's configuration names one of them.
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} --pg1-path="$PWD" archive-push "$1"\n')
    script.chmod(0o755)
    if user is not None:
        os.chown(script, user.pw_uid, user.pw_gid)


def parameters(home: Path, run: Path, name: str) -> Mapping[str, str]:
    """Return the settings of a node's server that archives its WAL, and that pgBackRest can log in to."""
    return {
        "unix_socket_directories": str(sockets(run, name)),
        "archive_mode": "on",
        "archive_command": f"{folder(home) / _ARCHIVE} %p",
        "archive_timeout": f"{_ARCHIVED_WITHIN_S}s",
    }
