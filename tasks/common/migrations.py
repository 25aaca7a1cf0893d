"""What other capabilities have to know of migrations: their phases, and where each one stands. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.common.model import DriverSpec, Place, Problem, StrictModel, near, refuse
from tasks.common.partitioning import PartitionSpec
from tasks.common.units import SYSTEM_ID_PATTERN, Duration, Name, Percent, PositiveDuration


class Phase(StrEnum):
    """A phase of a migration, in this order (MIG-1)."""

    PREPARE = "prepare"
    """Expand: only adds; the code that runs does not notice."""
    EXECUTE = "execute"
    """Backfill: in batches."""
    VALIDATE = "validate"
    """Nothing is left to fill, and nothing inconsistent."""
    CLEANUP = "cleanup"
    """Contract: the old shape goes."""


PHASES = tuple(Phase)
"""All phases, in order."""


class HealthLimits(StrictModel):
    """From when on a backfill holds: it frees the worker, and looks again later. A bound of null is off."""

    wal_segments: int | None = Field(
        default=42, ge=0, description="more segments of WAL than this wait to be archived (GitLab's figure)"
    )
    autovacuum: bool = Field(default=True, description="autovacuum is at work on the table")
    replica_lag_s: PositiveDuration | None = Field(
        default=30.0, alias="replica_lag", description="the slowest replica is further behind"
    )
    latency_ms: float | None = Field(
        default=None,
        gt=0,
        description="mean time of other roles' statements, in milliseconds; needs the extension pg_stat_statements",
    )
    disk_free_percent: Percent | None = Field(
        default=10.0, alias="disk_free", description="less of the disk is free; a migration is not begun then, either"
    )
    hold_s: PositiveDuration = Field(default=600.0, alias="hold", description="how long it holds before it looks again")


class DatabaseSpec(StrictModel):
    """The database of a service in an environment, as migrations need to know it."""

    connection: DriverSpec = Field(description="reaches it")
    database: str = Field(default="", description="its name; another one is refused")
    system_id: str | None = Field(
        default=None, pattern=SYSTEM_ID_PATTERN, description="of its cluster; another one is refused"
    )
    health: HealthLimits = Field(default=HealthLimits(), description="when a backfill holds")
    on_failure: Literal["undo", "stay"] = Field(
        default="undo",
        description="what happens to phases that a run has begun and that fail, before the point of no return (MIG-2)",
    )
    wait_s: Duration = Field(
        default=60.0, alias="wait", description="longest wait for another engine at work on the same database"
    )
    rollback_window_s: Duration = Field(
        default=86400.0,
        alias="rollback_window",
        description="the old shape stays for so long after the last release that needs it has stopped serving",
    )
    backup: Name | None = Field(
        default=None,
        description="plan under `backups` that takes this database: without a fresh verified backup of it, nothing is "
        "filled and nothing is removed",
    )
    backup_verified_within_s: PositiveDuration = Field(
        default=86400.0,
        alias="backup_verified_within",
        description="how old the newest verified backup may be then, from the end of the backup itself",
    )
    partitions: list[PartitionSpec] = Field(
        default_factory=list,
        description="tables of ranges of time that 'slipway migration partitions' looks after (MIG-3)",
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        tables = [each.table for each in self.partitions]
        twice = [
            Problem(("partitions", at, "table"), f"{name!r} a second time", "every table once")
            for at, name in enumerate(tables)
            if name in tables[:at]
        ]
        refuse("DatabaseSpec", twice)
        return self


class MigrationState(StrEnum):
    """How a migration stands in a database."""

    PENDING = "pending"
    """Nothing of it was begun, or all of it was undone."""
    UNDER_WAY = "under way"
    """Begun; `Standing.done` says how far. Nothing need be at work on it just now."""
    UNDOING = "undoing"
    """It is being undone, or that was interrupted."""
    APPLIED = "applied"
    """Every phase is done."""
    FAILED = "failed"
    """It has failed, and is not undone: a person looks at it."""


@dataclass(frozen=True)
class Standing:
    """Where one migration stands in one database.

    Args:
        name: of the migration: '0003_merge_names'.
        state: as above.
        done: the last phase that is complete; None where none is.
        version: the version schema that its clients name; '' where it has none.
        no_return: the phase with which the point of no return is passed; None where there is none.
        past_return: whether that phase was begun, and nothing can be undone any more.
        began_at: when this attempt began; None where it has not.
        ended_at: when it was applied; None where it was not.
        backup: id of the backup that was taken before; '' where none is on record.
        run_id: the last run at work on it; '' where there was none.
        accepted: who has answered for a cleanup whose conditions were not met, why, and which; '' where nobody had to.
    """

    name: str
    state: MigrationState
    done: Phase | None = None
    version: str = ""
    no_return: Phase | None = Phase.CLEANUP
    past_return: bool = False
    began_at: datetime | None = None
    ended_at: datetime | None = None
    backup: str = ""
    run_id: str = ""
    accepted: str = ""

    def has_done(self, phase: Phase) -> bool:
        """Return whether a phase is complete."""
        return self.done is not None and PHASES.index(self.done) >= PHASES.index(phase)


def backup_problems(databases: Sequence[tuple[Place, DatabaseSpec]], plans: Collection[str]) -> list[Problem]:
    """Return the databases that name an unknown backup plan.

    Args:
        databases: each with its place.
        plans: those that there are.
    """
    expected = f"one of: {', '.join(sorted(plans))}" if plans else "no such key, as there is no plan under `backups`"
    return [
        Problem((*place, "backup"), f"the unknown plan {each.backup!r}{near(each.backup, plans)}", expected)
        for place, each in databases
        if each.backup is not None and each.backup not in plans
    ]


def next_phase(done: Phase | None) -> Phase | None:
    """Return the phase that comes next; None where all are done."""
    position = 0 if done is None else PHASES.index(done) + 1
    return PHASES[position] if position < len(PHASES) else None


def up_to(phase: Phase) -> tuple[Phase, ...]:
    """Return the phases up to this one, itself among them."""
    return PHASES[: PHASES.index(phase) + 1]


def not_yet(standings: Sequence[Standing], phase: Phase) -> tuple[Standing, ...]:
    """Return the migrations of which a phase is not complete: what a release that needs it waits for."""
    return tuple(each for each in standings if not each.has_done(phase))
