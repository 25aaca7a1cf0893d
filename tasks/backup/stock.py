"""What lies in a repository, beside what the catalogue says of it. Pure."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.common.backups import Entry, Rung, RungOutcome, StoredBackup, Verification, backup_id

AT_REST = "read where it lies"
"""Name of the rung that a backup is put on record as unsound by, where it is damaged when it was just taken."""
GONE = "it was not in its repository any more"
"""Why a backup is on record as removed that nobody here has removed."""


@dataclass(frozen=True)
class Difference:
    """How a repository and the catalogue differ.

    Args:
        unknown: lies there, and is not in the catalogue, oldest first.
        gone: is in the catalogue as being there, and is not.
        back: lies there, though it was found to be gone once. Nobody removes it: nobody has decided that it is to go.
        leaving: lies there, though its removal was decided and put on record: whoever did so has died on the way.
    """

    unknown: tuple[StoredBackup, ...]
    gone: tuple[Entry, ...]
    back: tuple[Entry, ...]
    leaving: tuple[Entry, ...] = ()


def compare(
    plan: str, engine: str, repository: int, entries: Sequence[Entry], stored: Sequence[StoredBackup]
) -> Difference:
    """Return how one repository differs from the catalogue.

    Args:
        plan: name of the plan.
        engine: the driver's name; what another engine has taken, this one does not see, and it is left alone.
        repository: its number.
        entries: of the plan, those that were removed as well.
        stored: what the engine lists now.
    """
    ours = [each for each in entries if (each.engine, each.repository) == (engine, repository)]
    known = {each.id for each in entries}
    there = {backup_id(plan, repository, each.label) for each in stored}
    again = [each for each in ours if each.expired_at is not None and each.id in there]
    return Difference(
        unknown=tuple(each for each in stored if backup_id(plan, repository, each.label) not in known),
        gone=tuple(each for each in ours if each.expired_at is None and each.id not in there),
        back=tuple(each for each in again if each.expired_why == GONE),
        leaving=tuple(each for each in again if each.expired_why != GONE),
    )


def digest_of(stored: StoredBackup) -> str:
    """Return the digest of what the repository says of a backup: SHA-256 of canonical JSON (sorted keys, UTC).

    Not part of it is what may differ when the same backup is found again: what it takes where it lies, which a later
    backup or a clean-up can change, and what the engine says is wrong with it.
    """
    manifest = {
        "label": stored.label,
        "kind": stored.kind.value,
        "started_at": stored.started_at.timestamp(),
        "ended_at": stored.ended_at.timestamp(),
        "size_bytes": stored.size_bytes,
        "needs": sorted(stored.needs),
        "source_version": stored.source_version,
    }
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def broken(entry: Entry, run_id: str, began_at: datetime, ended_at: datetime, wrong: Sequence[str]) -> Verification:
    """Return what is put on record of a backup that is damaged where it lies. One that is not is not proven by that."""
    took_s = (ended_at - began_at).total_seconds()
    rung = Rung(AT_REST, RungOutcome.BROKEN, "; ".join(wrong), took_s, {"problems": len(wrong)})
    return Verification(entry.id, run_id, began_at, ended_at, (rung,), None, None)
