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
    accept_contract: str = Field(
        default="",
        max_length=500,
        description="why a release is returned to although migrations have removed what it needs, or nobody can tell, "
        "for the record; empty: it is not",
    )


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


class CheckRequest(_EstateRequest):
    """Build, test and scan a commit that is trusted with nothing, such as that of a pull request."""

    service: str = Field(description="name of the service, as in its slipway.yaml", examples=["campus"])
    commit: str = Field(
        description="what to check: a commit hash, a branch or a tag; the whole hash where a ref is given",
        examples=["3f2c1a9d0e8b7c6f5a4d3e2c1b0a9f8e7d6c5b4a"],
    )
    ref: str = Field(
        default="",
        pattern=r"^(refs/[A-Za-z0-9][A-Za-z0-9._/-]{0,199})?$",
        description="ref that leads to the commit, where no branch does",
        examples=["refs/pull/7/head", "refs/merge-requests/7/head"],
    )
    pull_request: str = Field(
        default="", max_length=20, description="number of the pull request, for the record", examples=["7"]
    )
    requested_by: str = Field(default="", description="who asks, for the record; not authenticated by this server")
