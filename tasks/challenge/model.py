"""The nouns of a challenge: what is damaged, and which rung of the ladder should find it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tasks.common.backups import Form
from tasks.verification import ladder


class Fault(StrEnum):
    """A damage that a verification must find. *Source:* reference, backup and disaster recovery, section 3, rung 9."""

    FLIPPED = "flipped byte"
    TRUNCATED = "truncated file"
    WAL_GONE = "missing WAL segment"
    SWAPPED = "stale backup under the newest one's name"
    ARCHIVE_SILENT = "archiving stopped silently"
    KEY_BROKEN = "broken foreign key"
    TABLE_GONE = "table removed before the backup"


ON_COPY = (Fault.FLIPPED, Fault.TRUNCATED, Fault.WAL_GONE, Fault.SWAPPED)
"""Made in a copy of the repository."""
ON_SOURCE = (Fault.ARCHIVE_SILENT, Fault.KEY_BROKEN, Fault.TABLE_GONE)
"""Made in a throw-away copy of the database that is then backed up.

In this order: what an earlier one leaves there breaks no rung below the one that a later one should break.
"""

_SHOULD = {
    Fault.FLIPPED: ladder.REPOSITORY,
    Fault.TRUNCATED: ladder.REPOSITORY,
    Fault.WAL_GONE: ladder.REPOSITORY,
    Fault.SWAPPED: ladder.REPOSITORY,
    Fault.KEY_BROKEN: ladder.FOREIGN_KEYS,
    Fault.TABLE_GONE: ladder.SCHEMA,
    Fault.ARCHIVE_SILENT: ladder.FRESHNESS,
}


def expected(fault: Fault, form: Form, *, tells_swapped: bool = True) -> str:
    """Return the name of the rung that should find a fault.

    Args:
        fault: which.
        form: of what is restored.
        tells_swapped: whether the engine sees where it lies that a backup has another one's name.
    """
    if fault is Fault.SWAPPED and not tells_swapped:
        return ladder.RESTORE
    if fault is Fault.KEY_BROKEN and form is Form.DUMP:
        # pg_restore makes the key after the rows, and cannot.
        return ladder.RESTORE
    return _SHOULD[fault]


class Part(StrEnum):
    """What a file of a repository holds."""

    CONTENT = "content"
    WAL = "WAL"


@dataclass(frozen=True)
class StoredFile:
    """A file that a backup cannot be restored without.

    Args:
        path: from the repository's folder.
        size_bytes: its size.
        part: what it holds.
    """

    path: str
    size_bytes: int
    part: Part


@dataclass(frozen=True)
class Served:
    """A throw-away database server that backups can be taken of.

    Args:
        sockets: folder of its socket.
        port: the socket's number.
        superuser: who may do all, without a password.
        data: its data folder.
        address: file with the address of the database that the plan names.
    """

    sockets: Path
    port: int
    superuser: str
    data: Path
    address: Path
