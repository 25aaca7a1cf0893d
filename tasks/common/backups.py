"""Backups: what an engine stores, what the catalogue keeps of it, what was proven by restoring it (BAK, VER)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from tasks.common.challenges import Challenge
from tasks.common.source_facts import SourceFacts

FIRST, SECOND = 1, 2
"""Numbers of repositories: the one that backups are taken into, and the copy in a second region."""

FRESHNESS, RESTORE, HEARTBEAT = "freshness", "restore", "heartbeat"
"""Rungs of the ladder that mean something apart from the others."""
OF_AGE = frozenset({FRESHNESS, HEARTBEAT})
"""Rungs that say how old the newest data are: a broken one fails a run, and says nothing against the backup."""


class BackupKind(StrEnum):
    """How much of the source a backup holds itself."""

    FULL = "full"
    DIFFERENTIAL = "differential"
    """What has changed since the full one."""
    INCREMENTAL = "incremental"
    """What has changed since any other one."""


class Form(StrEnum):
    """What is there when a backup was restored into a folder."""

    CLUSTER = "cluster"
    """A PostgreSQL data directory, which a server of the same version starts from."""
    DUMP = "dump"
    """A folder that pg_restore reads."""
    FILES = "files"
    """The files themselves."""
    RDB = "rdb"
    """A Redis snapshot, `dump.rdb`."""


OF_POSTGRESQL = frozenset({Form.CLUSTER, Form.DUMP})
"""Forms that a PostgreSQL server comes of."""


class Ability(StrEnum):
    """What not every engine, or not every version of one, can do."""

    POINT_IN_TIME = "restore to a point in time"
    DIFFERENTIAL = "differential backups"
    INCREMENTAL = "incremental backups"
    ENCRYPTION = "encryption"
    SECOND_REPOSITORY = "a second repository"
    RESUME = "resuming an interrupted backup"
    BANDWIDTH = "a limit on bandwidth"
    SHARED = "being read while another run backs up or expires"


@dataclass(frozen=True)
class Abilities:
    """What an engine can do here, by its programs' own words.

    Args:
        versions: of each program that it needs, by name: {'pgbackrest': '2.45'}.
        can: what it can do.
        missing: why it cannot do the rest, by ability: "the settings name one repository".
        remarks: what it does at more cost than a newer version would: "verifies all backups at once: ... needs 2.55".
    """

    versions: Mapping[str, str]
    can: frozenset[Ability]
    missing: Mapping[Ability, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredBackup:
    """One backup, as its repository has it.

    Args:
        label: the engine's own name for it, unique in a repository.
        kind: how much it holds itself.
        started_at: when it began; aware.
        ended_at: when it was complete; aware. What it restores to is as of this moment, without WAL.
        size_bytes: what comes out when it is restored.
        stored_bytes: what it takes in the repository itself, without those that it needs.
        needs: labels that it cannot be restored without.
        source_version: of the server that it is of: '15.18'; '' where there is none, as for files.
        error: what the engine says is wrong with it; '' if nothing.
    """

    label: str
    kind: BackupKind
    started_at: datetime
    ended_at: datetime
    size_bytes: int
    stored_bytes: int
    needs: tuple[str, ...] = ()
    source_version: str = ""
    error: str = ""

    def with_errors(self, wrong: Sequence[str]) -> "StoredBackup":
        """Return it with what was found wrong besides."""
        return replace(self, error="; ".join(filter(None, [self.error, *wrong])))


@dataclass(frozen=True)
class Progress:
    """How far something long has come; `total_bytes` is 0 while it is not known."""

    done_bytes: int
    total_bytes: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class RestoreTo:
    """Which state to restore.

    Args:
        label: which backup to start from; None for the newest one that can.
        at: point in time to stop at, aware; None for the end of what there is (for engines without WAL: the backup).
        backup_only: stop as soon as the backup is consistent, and take no more WAL than that needs.
    """

    label: str | None = None
    at: datetime | None = None
    backup_only: bool = False


def backup_id(plan: str, repository: int, label: str) -> str:
    """Return the catalogue's id of a backup: 'campus-db/1/20261122-010203F'."""
    return f"{plan}/{repository}/{label}"


@dataclass(frozen=True)
class Entry:
    """One backup in the catalogue: what was taken, and what is known of it.

    Args:
        id: the catalogue's own, by `backup_id`: 'campus-db/1/20261122-010203F'.
        plan: name of the plan of the estate file.
        engine: the driver's name.
        repository: 1, or 2 for a copy in the second region.
        stored: as the repository had it when it was taken.
        digest: of its manifest, 'sha256:<hex>'.
        run_id: the flow run that took it.
        verified_at: when it was last restored and found right; None if never.
        unsound_at: when it was last found not to be restorable, or wrong; None if never, or found right since. A
            verification that has proven nothing either way changes neither.
        held: why it must not be expired; '' if it may.
        expired_at: when its removal from its repository was decided, or found; None while it is there.
        expired_why: the reason; '' while it is there.
    """

    id: str
    plan: str
    engine: str
    repository: int
    stored: StoredBackup
    digest: str
    run_id: str
    verified_at: datetime | None = None
    unsound_at: datetime | None = None
    held: str = ""
    expired_at: datetime | None = None
    expired_why: str = ""


class RungOutcome(StrEnum):
    """What a rung of the ladder has found."""

    HELD = "held"
    BROKEN = "broken"
    LEFT_OUT = "left out"
    """It does not apply to this engine or source, or a lower rung is broken. Never counts as held."""


@dataclass(frozen=True)
class Rung:
    """One rung of a verification.

    Args:
        name: 'page checksums'.
        outcome: what it has found.
        said: one sentence: what was looked at and found, or why it was left out.
        took_s: how long it took.
        facts: figures, for the ledger; no contents of rows.
    """

    name: str
    outcome: RungOutcome
    said: str
    took_s: float
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Verification:
    """What was found when a backup was restored.

    Args:
        entry_id: which one.
        run_id: the flow run that did it.
        began_at: when it began.
        ended_at: when it ended.
        rungs: in the order in which they were climbed.
        rpo_s: what would have been lost, had the source died when it began: seconds to the newest heartbeat that came
            back; None where there is no heartbeat.
        rto_s: from the beginning of the restore until the copy answered and was found right; None if it was not.
    """

    entry_id: str
    run_id: str
    began_at: datetime
    ended_at: datetime
    rungs: Sequence[Rung]
    rpo_s: float | None
    rto_s: float | None

    @property
    def sound(self) -> bool:
        """Return whether it was restored and nothing was found to be wrong; one that was only read is not."""
        held = any(rung.outcome is RungOutcome.HELD for rung in self.rungs)
        restored = all(rung.outcome is RungOutcome.HELD for rung in self.rungs if rung.name == RESTORE)
        return held and restored and not self.broken

    @property
    def unsound(self) -> bool:
        """Return whether something was found to be wrong with the backup itself, and not only with its age."""
        return any(rung.name not in OF_AGE for rung in self.broken)

    @property
    def broken(self) -> tuple[Rung, ...]:
        """Return the rungs that have found something wrong, in their order."""
        return tuple(rung for rung in self.rungs if rung.outcome is RungOutcome.BROKEN)


class Catalogue(Protocol):
    """All backups that were ever taken, and what was found of them. Kept in the ledger; rows are only added.

    Every method raises Retryable where the ledger does not answer.
    """

    def add(self, entry: Entry) -> None:
        """The entry is kept. *Idempotent:* yes, by its id; the first one stands.

        Raises:
            Refused: another backup has this id, the id is not that of `backup_id`, or it comes with something that is
                only found later: a verification, a hold, its expiry.
        """
        ...

    def entry(self, entry_id: str) -> Entry:
        """Return one entry.

        Raises:
            Refused: there is none of this id; those that come near are named.
        """
        ...

    def entries(self, plan: str | None = None, *, expired: bool = False) -> tuple[Entry, ...]:
        """Return the entries of a plan, or of all, newest first; those that were removed only where asked for."""
        ...

    def hold(self, entry_id: str, reason: str, by: str, at: datetime) -> None:
        """It is not expired until it is let go ('' for the reason). *Idempotent:* yes.

        Raises:
            Refused: no such entry, or it was expired.
        """
        ...

    def expired(self, entry_id: str, why: str, run_id: str, at: datetime) -> None:
        """It is on record that it was removed, or is about to be. *Idempotent:* yes; the first time stands.

        Raises:
            Refused: no such entry.
        """
        ...

    def observed(self, entry_id: str, source: SourceFacts) -> None:
        """What its source was when it was taken is kept. *Idempotent:* yes; the first one stands.

        Raises:
            Refused: no such entry, or facts that are no JSON data.
        """
        ...

    def source_of(self, entry_id: str) -> SourceFacts | None:
        """Return what the source of a backup was when it was taken; None where that is not on record.

        Raises:
            Refused: no such entry.
        """
        ...

    def note(self, verification: Verification) -> None:
        """The verification is kept. *Idempotent:* yes, by its entry and run; the first one stands.

        What ended later overrides what was found before.

        Raises:
            Refused: no such entry, or facts that are no JSON data.
        """
        ...

    def verifications(self, plan: str, limit: int) -> tuple[Verification, ...]:
        """Return the latest verifications of a plan's backups, newest first."""
        ...

    def challenged(self, challenge: Challenge) -> None:
        """The challenge is kept; of the backup it says nothing. *Idempotent:* yes, by its run; the first one stands.

        Raises:
            Refused: no such backup.
        """
        ...

    def challenges(self, plan: str, limit: int) -> tuple[Challenge, ...]:
        """Return the latest challenges of a plan's verification, newest first."""
        ...
