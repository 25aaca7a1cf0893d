"""Whether a backfill may go on: rules over what was measured just now. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tasks.common.migrations import HealthLimits
from tasks.common.units import show_size


class Verdict(StrEnum):
    """What a rule says. *Source:* GitLab, `lib/gitlab/database/health_status/indicators`."""

    NORMAL = "normal"
    STOP = "stop"
    NOT_AVAILABLE = "not available"


@dataclass(frozen=True)
class Measures:
    """How a server is, at one moment. None: it cannot be measured there.

    Args:
        wal_waiting: segments of WAL that wait to be archived; None also where nothing is archived.
        vacuuming: the tables of those asked for that autovacuum works on.
        replica_lag_s: of the slowest connected replica.
        latency_ms: of the foreground: its mean time a statement since the last measure.
        disk_free_bytes: where the data folder is.
        disk_total_bytes: as before.
    """

    wal_waiting: int | None = None
    vacuuming: tuple[str, ...] | None = None
    replica_lag_s: float | None = None
    latency_ms: float | None = None
    disk_free_bytes: int | None = None
    disk_total_bytes: int | None = None


@dataclass(frozen=True)
class Finding:
    """What one rule says, and why.

    Args:
        rule: its name.
        verdict: as above.
        why: figures, in words.
    """

    rule: str
    verdict: Verdict
    why: str


Rule = Callable[[Measures, HealthLimits], Finding | None]
"""A rule; None where it is off."""


def _finding(rule: str, stop: bool, why: str) -> Finding:
    return Finding(rule, Verdict.STOP if stop else Verdict.NORMAL, why)


def _missing(rule: str) -> Finding:
    return Finding(rule, Verdict.NOT_AVAILABLE, "cannot be measured here")


def wal_archive(found: Measures, limits: HealthLimits) -> Finding | None:
    """Return whether the archive keeps up with the WAL that is written."""
    if limits.wal_segments is None:
        return None
    if found.wal_waiting is None:
        return _missing("WAL archive")
    why = f"{found.wal_waiting} segments wait to be archived, {limits.wal_segments} may"
    return _finding("WAL archive", found.wal_waiting > limits.wal_segments, why)


def autovacuum(found: Measures, limits: HealthLimits) -> Finding | None:
    """Return whether autovacuum has the table to itself."""
    if not limits.autovacuum:
        return None
    if found.vacuuming is None:
        return _missing("autovacuum")
    why = f"at work on {', '.join(found.vacuuming)}" if found.vacuuming else "not at work on the table"
    return _finding("autovacuum", bool(found.vacuuming), why)


def replica_lag(found: Measures, limits: HealthLimits) -> Finding | None:
    """Return whether the replicas keep up."""
    if limits.replica_lag_s is None:
        return None
    if found.replica_lag_s is None:
        return _missing("replica lag")
    why = f"the slowest replica is {found.replica_lag_s:.1f} s behind, {limits.replica_lag_s:g} s may be"
    return _finding("replica lag", found.replica_lag_s > limits.replica_lag_s, why)


def foreground_latency(found: Measures, limits: HealthLimits) -> Finding | None:
    """Return whether users' statements are as quick as they have to be."""
    if limits.latency_ms is None:
        return None
    if found.latency_ms is None:
        return _missing("foreground latency")
    why = f"statements take {found.latency_ms:.1f} ms in the mean, {limits.latency_ms:g} ms may be"
    return _finding("foreground latency", found.latency_ms > limits.latency_ms, why)


def disk(found: Measures, limits: HealthLimits) -> Finding | None:
    """Return whether there is room on the disk."""
    if limits.disk_free_percent is None:
        return None
    if found.disk_free_bytes is None or not found.disk_total_bytes:
        return _missing("disk")
    free_percent = 100.0 * found.disk_free_bytes / found.disk_total_bytes
    why = f"{show_size(found.disk_free_bytes)} free, {free_percent:.1f} %; {limits.disk_free_percent:g} % have to be"
    return _finding("disk", free_percent < limits.disk_free_percent, why)


RULES: tuple[Rule, ...] = (wal_archive, autovacuum, replica_lag, foreground_latency, disk)
"""Every rule that is asked. One that cannot be measured stops nothing."""


def judge(found: Measures, limits: HealthLimits, rules: Sequence[Rule] = RULES) -> tuple[Finding, ...]:
    """Return what each rule says that is on."""
    said = [rule(found, limits) for rule in rules]
    return tuple(each for each in said if each is not None)


def unmeasured(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return the rules that are on and cannot be looked at, for whoever trusts in them."""
    return tuple(each.rule for each in findings if each.verdict is Verdict.NOT_AVAILABLE)


def stops(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return those because of which a backfill holds."""
    return tuple(each for each in findings if each.verdict is Verdict.STOP)
