"""What is asked for when something is restored: the form in the Prefect UI is made from this model."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class RestoreRequest(BaseModel):
    """Restore a backup, or a point in time, into a target of the plan."""

    model_config = ConfigDict(extra="forbid")

    plan: str = Field(description="name of the backup plan, as in the estate file", examples=["campus-db"])
    to: str = Field(description="name of the target, under targets of the plan", examples=["spare"])
    backup: str = Field(
        default="",
        description="a backup's id in the catalogue; empty: the newest that is not known to be unsound",
        examples=["campus-db/1/20261122-010203F"],
    )
    at: AwareDatetime | None = Field(
        default=None,
        description="point in time to come back to, with its time zone; without it: the backup's own state if one is "
        "named, else the newest that there is",
        examples=["2026-11-22T13:37:00Z"],
    )
    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )
    requested_by: str = Field(default="", description="who asks, for the record; not authenticated by this server")
