"""Plans of backups, as the estate file has them: what is backed up, how it is proven, where it may be restored to."""

from typing import Self

from pydantic import Field, model_validator

from tasks.common.model import DriverSpec, Problem, StrictModel, refuse
from tasks.common.units import Name, PositiveDuration


class Retention(StrictModel):
    """Which backups are kept: the newest of each hour, day, ISO week and month (UTC), so many of each (BAK-3)."""

    hourly: int = Field(default=24, ge=0, description="hours of which the newest backup is kept")
    daily: int = Field(default=30, ge=0, description="days of which the newest backup is kept")
    weekly: int = Field(default=12, ge=0, description="weeks of which the newest backup is kept")
    monthly: int = Field(default=12, ge=0, description="months of which the newest backup is kept")
    minimum: int = Field(
        default=2,
        ge=1,
        description="so many of the newest, and of the newest that need no other, are kept whatever their age",
    )


class Objectives(StrictModel):
    """What a restore must achieve (DR-1)."""

    rto_s: PositiveDuration = Field(alias="rto", description="longest time until the data is there again")
    rpo_s: PositiveDuration = Field(alias="rpo", description="longest time whose changes may be lost")


class VerificationPlan(StrictModel):
    """How backups are proven: restored into a scratch server or folder, and compared with their source (VER-1)."""

    database: DriverSpec | None = Field(
        default=None, description="the source of PostgreSQL's backups, which they are compared with; it is only read"
    )
    scratch: DriverSpec = Field(description="the server, or folder, that copies are restored into, fenced off")
    name: str | None = Field(
        default=None,
        min_length=1,
        description="the database whose schema, rows and heartbeat are looked at, where there is one",
    )
    expectations: str | None = Field(
        default=None, description="folder of the suites of expectations that the copy must meet (expectations/*.yaml)"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = {"database": self.database, "name": self.name}
        missing = [key for key, value in given.items() if value is None]
        if len(missing) == 1 or (missing and self.expectations is not None):
            refuse(
                "VerificationPlan",
                [Problem((key,), "nothing", "it, as what is restored is looked at as a database") for key in missing],
            )
        return self


class RestoreTarget(StrictModel):
    """A server, or a folder, that backups of a plan may be restored into (BAK-4)."""

    server: DriverSpec = Field(description="the server, or the folder, on the machine of the worker")
    source: bool = Field(
        default=False,
        description="it is what the plan backs up: a server may be put aside while it runs, and keeps its archiving",
    )
    approval_within_s: PositiveDuration = Field(
        default=3600.0,
        alias="approval_within",
        description="how long an answer is waited for, where the restore would take the place of something",
    )
    masking: str | None = Field(
        default=None,
        description="rules that a PostgreSQL copy is made anonymous by before anybody can reach it (masking.yaml)",
    )
    database: str | None = Field(
        default=None,
        min_length=1,
        description="database that is masked, and whose heartbeat is read; default: that of the plan's verification",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.masking is not None and self.source:
            refuse("RestoreTarget", [Problem(("masking",), "rules for the plan's own source", "another target for it")])
        return self


class BackupPlan(StrictModel):
    """What is backed up, how, and what must come of it."""

    engine: DriverSpec = Field(description="takes and restores the backups")
    verification: VerificationPlan | None = Field(
        default=None,
        description="how they are proven; without it they are only read where they lie",
    )
    targets: dict[Name, RestoreTarget] = Field(
        default_factory=dict,
        description="where its backups may be restored to, by name; 'slipway restore PLAN --to NAME'",
    )
    retention: Retention = Field(default=Retention(), description="which backups are kept")
    objectives: Objectives = Field(description="what its verifications are measured against")
    backup_within_s: PositiveDuration = Field(
        default=26 * 3600.0,
        alias="backup_within",
        ge=60,
        description="oldest that the newest backup may be, in each repository; an alarm goes out when none has "
        "succeeded for this long, also when nothing is scheduled",
    )
    verified_within_s: PositiveDuration = Field(
        default=50 * 3600.0,
        alias="verified_within",
        ge=60,
        description="longest time since a backup was last restored and found right; an alarm goes out as for backups",
    )
    lease_s: PositiveDuration = Field(
        default=60.0, alias="lease", ge=5, description="a run that is not heard of for this long has lost its right"
    )
