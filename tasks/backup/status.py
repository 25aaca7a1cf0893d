"""How well each plan's data are backed up now: how old, how proven, how fast to restore, and what is wrong. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tasks.common.backup_plans import BackupPlan
from tasks.common.backups import FIRST, Catalogue, Entry, RungOutcome, Verification
from tasks.common.estate import Estate
from tasks.common.units import show_age, show_duration, show_size

_TREND_DAYS = 30
_SHRUNK = 0.5
"""A backup of less than this share of the one before has lost something, or somebody has deleted much."""
_LOOKED_AT = 20
"""Verifications that are read: the last one that has found something is among them, if any was of late."""


@dataclass(frozen=True)
class PlanStatus:
    """What is known of one plan.

    Args:
        plan: its name.
        backups: how many are there, in all repositories.
        newest: the newest backup of the first repository; those from the future are left out.
        newest_verified: the newest backup that was restored and found right, and not wrong since.
        verified_at: when a backup was last restored and found right.
        last: the last verification that has found something.
        rpo_objective_s: longest time whose changes may be lost.
        rto_objective_s: longest time until the data are there again.
        growth_bytes_a_day: of what a restore gives, over the last 30 days; None where that cannot be said yet.
        next_backup_at: when the clock starts the next backup, at the latest; None where it starts none.
        next_verification_at: the same of a verification.
        problems: what is wrong, one sentence each; the worst first.
    """

    plan: str
    backups: int
    newest: Entry | None
    newest_verified: Entry | None
    verified_at: datetime | None
    last: Verification | None
    rpo_objective_s: float
    rto_objective_s: float
    growth_bytes_a_day: float | None
    problems: tuple[str, ...]
    next_backup_at: datetime | None = None
    next_verification_at: datetime | None = None

    @property
    def rpo_s(self) -> float | None:
        """Return what the last verification has measured as lost; None where it has not."""
        return self.last.rpo_s if self.last else None

    @property
    def rto_s(self) -> float | None:
        """Return how long the last verification took until the data were there; None where they were not."""
        return self.last.rto_s if self.last else None


def look(estate: Estate, catalogue: Catalogue, now: datetime) -> tuple[PlanStatus, ...]:
    """Return the status of each plan, in the order of the estate file.

    Raises:
        Retryable: the ledger does not answer.
    """
    return tuple(
        replace(
            status_of(name, plan, catalogue.entries(name), catalogue.verifications(name, _LOOKED_AT), now),
            next_backup_at=_next_start(estate, "backup", name, now),
            next_verification_at=_next_start(estate, "verify-backup", name, now),
        )
        for name, plan in estate.backups.items()
    )


def _next_start(estate: Estate, flow: str, plan: str, now: datetime) -> datetime | None:
    """Return when the first of the schedules of a plan starts its flow next."""
    ours = [each for each in estate.schedules.values() if (each.start, each.parameters.get("plan")) == (flow, plan)]
    starts = [at for each in ours if (at := each.next_start(now, estate.windows)) is not None]
    return min(starts, default=None)


def status_of(
    name: str, plan: BackupPlan, entries: Sequence[Entry], verifications: Sequence[Verification], now: datetime
) -> PlanStatus:
    """Return the status of one plan.

    Args:
        name: the plan's.
        plan: what is expected.
        entries: its backups that are there, newest first.
        verifications: its latest, newest first.
        now: the time, aware.
    """
    past = [each for each in entries if each.stored.ended_at <= now]
    first = [each for each in past if each.repository == FIRST]
    sound = [each for each in past if each.verified_at and not each.unsound_at]
    verified_at = max((each.verified_at for each in sound if each.verified_at), default=None)
    last = next((each for each in verifications if each.sound or each.broken), None)
    problems = [
        *_of_age(plan, entries, past, now),
        *_of_proof(plan, past, sound, verified_at, now),
        *_of_last(plan, last),
        *_of_size(first),
    ]
    return PlanStatus(
        plan=name,
        backups=len(entries),
        newest=first[0] if first else None,
        newest_verified=sound[0] if sound else None,
        verified_at=verified_at,
        last=last,
        rpo_objective_s=plan.objectives.rpo_s,
        rto_objective_s=plan.objectives.rto_s,
        growth_bytes_a_day=_growth(first),
        problems=tuple(problems),
    )


def _of_age(plan: BackupPlan, entries: Sequence[Entry], past: Sequence[Entry], now: datetime) -> Iterator[str]:
    repositories = sorted({FIRST, *(each.repository for each in entries)})
    for repository in repositories:
        newest = next((each for each in past if each.repository == repository), None)
        where = "" if repository == FIRST else f" in repository {repository}"
        if newest is None:
            yield f"there is no backup{where}"
            continue
        age_s = (now - newest.stored.ended_at).total_seconds()
        if age_s > plan.backup_within_s:
            allowed = show_age(plan.backup_within_s)
            yield f"stale: the newest backup{where} is {show_age(age_s)} old, and may be {allowed}"
    ahead = [each for each in entries if each.stored.ended_at > now]
    if ahead:
        yield f"a clock is wrong: {ahead[0].stored.label} comes from the future"


def _of_proof(
    plan: BackupPlan, past: Sequence[Entry], sound: Sequence[Entry], verified_at: datetime | None, now: datetime
) -> Iterator[str]:
    if not past:
        return
    if verified_at is None:
        ever = any(each.verified_at for each in past)
        yield "no backup that was verified is still sound" if ever else "no backup was ever verified"
    elif (ago_s := (now - verified_at).total_seconds()) > plan.verified_within_s:
        allowed = show_age(plan.verified_within_s)
        yield f"unproven: a backup was last verified {show_age(ago_s)} ago, and must be within {allowed}"
    proven_at = sound[0].stored.ended_at if sound else None
    unsound = [each for each in past if each.unsound_at and (proven_at is None or each.stored.ended_at > proven_at)]
    if unsound:
        more = f" and {len(unsound) - 1} more" if len(unsound) > 1 else ""
        yield f"unsound: {unsound[0].stored.label}{more}; no newer backup is proven"


def _of_last(plan: BackupPlan, last: Verification | None) -> Iterator[str]:
    """Yield what the last verification has found wrong, and which objectives it has missed."""
    if last is None:
        return
    for rung in last.rungs:
        if rung.outcome is RungOutcome.BROKEN:
            yield f"the last verification, of {last.entry_id}, found {rung.name} broken: {rung.said}"
    if last.sound and last.rto_s is None:
        yield "the last verification has not measured the RTO"
    measured = (("RTO", last.rto_s, plan.objectives.rto_s), ("RPO", last.rpo_s, plan.objectives.rpo_s))
    for what, value, objective in measured:
        if value is not None and value > objective:
            yield f"{what} {show_duration(value)}, and may be {show_duration(objective)}"


def _of_size(first: Sequence[Entry]) -> Iterator[str]:
    if len(first) < 2:
        return
    now_bytes, before_bytes = first[0].stored.size_bytes, first[1].stored.size_bytes
    if now_bytes < before_bytes * _SHRUNK:
        yield f"shrunk: the newest backup holds {show_size(now_bytes)}, the one before {show_size(before_bytes)}"


def _growth(first: Sequence[Entry]) -> float | None:
    """Return the bytes a day between the newest backup and the oldest of the last 30 days; at least a day apart."""
    if not first:
        return None
    newest = first[0].stored
    since = newest.ended_at - timedelta(days=_TREND_DAYS)
    oldest = next(each.stored for each in reversed(first) if each.stored.ended_at >= since)
    days = (newest.ended_at - oldest.ended_at) / timedelta(days=1)
    return (newest.size_bytes - oldest.size_bytes) / days if days >= 1 else None
