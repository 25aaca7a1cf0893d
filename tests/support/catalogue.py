"""Backups and verifications for catalogues, plans of retention and the status."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tasks.common.backups import BackupKind, Entry, Rung, RungOutcome, StoredBackup, Verification, backup_id

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
PLAN = "campus-db"


def entry(
    ended_at: datetime = NOW,
    *,
    plan: str = PLAN,
    repository: int = 1,
    label: str = "",
    needs: Sequence[str] = (),
    **fields: object,
) -> Entry:
    """Return a backup that took a minute; without a label, one that its time makes."""
    stored = StoredBackup(
        label=label or f"{ended_at:%Y%m%d-%H%M%S}",
        kind=BackupKind.INCREMENTAL if needs else BackupKind.FULL,
        started_at=ended_at - timedelta(minutes=1),
        ended_at=ended_at,
        size_bytes=3_000_000,
        stored_bytes=1_000_000,
        needs=tuple(needs),
        source_version="15.18",
    )
    kept = Entry(
        backup_id(plan, repository, stored.label), plan, "memory", repository, stored, "sha256:" + "0" * 64, "r"
    )
    return replace(kept, **fields)  # type: ignore[arg-type]


def rung(outcome: RungOutcome = RungOutcome.HELD, name: str = "row counts", **facts: object) -> Rung:
    """Return a rung that took a second and a half."""
    return Rung(name, outcome, f"the {name} were looked at", 1.5, facts)


def verification(
    of: Entry,
    outcome: RungOutcome = RungOutcome.HELD,
    *,
    run_id: str = "verify-1",
    ended_at: datetime = NOW,
    rpo_s: float | None = 4.0,
    rto_s: float | None = 90.0,
) -> Verification:
    """Return a verification that took two minutes and climbed one rung."""
    return Verification(of.id, run_id, ended_at - timedelta(minutes=2), ended_at, (rung(outcome),), rpo_s, rto_s)
