"""What `pgbackrest verify` says about one backup, out of what it says about a whole repository."""

import re
from collections.abc import Collection, Sequence

from blocks.backups.wal import Range, number_of

_LABEL = r"\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?"
_BACKUP = re.compile(rf"backup: ({_LABEL}), status: ([a-z ]+)")
_SAID = re.compile(r"(?:INFO|DETAIL|WARN|ERROR): (.*)")
_WAL = re.compile(r"/([0-9A-F]{24})-[0-9a-f]{40}")
_WRONG = re.compile(r"invalid|missing|unusable|mismatch|duplicate|unable to", re.IGNORECASE)
_SHOWN = 5


def problems_of(lines: Sequence[str], labels: Collection[str], wal: Range) -> list[str]:
    """Return what is wrong with backups, and with the WAL that makes them consistent, one sentence each.

    Args:
        lines: what `verify --output=text --verbose` has printed.
        labels: the backup, and those that it needs.
        wal: what it needs of WAL.
    """
    statuses = {match[1]: match[2] for line in lines if (match := _BACKUP.search(line))}
    said = [match[1].strip() for line in lines if (match := _SAID.search(line))]
    wrong = [line for line in said if _WRONG.search(line) and not _BACKUP.search(line)]
    numbers = range(number_of(wal.start), number_of(wal.stop) + 1)
    found = [
        line
        for line in wrong
        if any(f"{label}/" in line for label in labels)
        or any(number_of(segment) in numbers for segment in _WAL.findall(line) if f"{wal.archive}/" in line)
        or ".info" in line
    ]
    about = [f"pgBackRest says that {label} is {statuses[label]}" for label in labels if _bad(statuses.get(label))]
    unseen = [f"pgBackRest has not verified {label}" for label in labels if label not in statuses]
    return [*about, *unseen, *(line.rstrip(".") for line in found[:_SHOWN])]


def _bad(status: str | None) -> bool:
    return status is not None and status.strip() != "valid"
