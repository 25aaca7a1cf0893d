"""What is asked for when a release or rollback is started: the form in the Prefect UI is made from these models."""

from pydantic import BaseModel, ConfigDict, Field


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    service: str = Field(description="name of the service, as in its slipway.yaml", examples=["campus"])
    environment: str = Field(
        default="production",
        description="where it must serve in the end; a release passes the environments before it on its way",
    )
    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )
    requested_by: str = Field(default="", description="who asks, for the record; not authenticated by this server")


class ReleaseRequest(_Request):
    """Take a commit to an environment."""

    commit: str = Field(
        description="what to release: a commit hash (also shortened), a branch or a tag", examples=["main", "3f2c1a9"]
    )


class RollbackRequest(_Request):
    """Return to a release that is kept, without a rebuild."""

    to: str = Field(
        default="",
        description="the release to return to, as 'slipway releases list' shows it; empty: the one before the present",
    )
    reason: str = Field(default="", description="why, for the record")


class _EstateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )


class ReconcileRequest(_EstateRequest):
    """Bring what has no live holder to an end, and report what is not as it was left."""


class MaintainRequest(_EstateRequest):
    """Tidy up, and look at everything that a release would need."""


class AggregateRequest(_EstateRequest):
    """What a month of releases comes to."""

    month: str = Field(default="", description="such as 2026-10; empty: the month before the present one")
