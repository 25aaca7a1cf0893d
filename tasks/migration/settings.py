"""What every `migration.yaml` may say, whatever its database is. Pure."""

from typing import Literal

from pydantic import Field

from tasks.common.migrations import Phase
from tasks.common.model import StrictModel
from tasks.common.units import Duration, PositiveDuration
from tasks.migration.model import Limits

NEVER = "never"
LEFT_OUT = {"description", "settle_s", "within_s", "lock_timeout_s", "lock_tries"}
"""What decides not what is done but how patiently: it may be changed while a migration is under way."""


class Settings(StrictModel):
    """What stands in `migration.yaml` of any database."""

    description: str = Field(min_length=1, description="what it changes, and why; for people")
    engine: Literal["postgresql", "mongodb"] = Field(default="postgresql", description="whose database it is for")
    point_of_no_return: Phase | Literal["never"] = Field(
        default=Phase.CLEANUP, description="the phase with whose beginning nothing can be undone any more"
    )
    settle_s: Duration = Field(default=5.0, alias="settle", description="pause after each phase (MIG-1)")
    within_s: PositiveDuration = Field(
        default=600.0, alias="within", description="longest work on one phase, holds not counted (MIG-2)"
    )
    lock_timeout_s: PositiveDuration = Field(
        default=0.5, alias="lock_timeout", le=60, description="longest wait for a lock: users behind it wait as long"
    )
    lock_tries: int = Field(default=30, ge=1, le=1000, description="how often a statement is tried for its lock")

    @property
    def no_return(self) -> Phase | None:
        """Return the phase with which nothing can be undone any more; None where all can."""
        return None if self.point_of_no_return == NEVER else Phase(self.point_of_no_return)

    @property
    def limits(self) -> Limits:
        """Return how long things may take."""
        return Limits(
            settle_s=self.settle_s,
            phase_s=self.within_s,
            lock_timeout_ms=round(self.lock_timeout_s * 1000),
            lock_tries=self.lock_tries,
        )
