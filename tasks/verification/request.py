"""What is asked for when a backup is verified: the form in the Prefect UI is made from this model."""

from pydantic import BaseModel, ConfigDict, Field


class VerifyRequest(BaseModel):
    """Restore a backup into a scratch server, and show that what came back is right."""

    model_config = ConfigDict(extra="forbid")

    plan: str = Field(description="name of the backup plan, as in the estate file", examples=["campus-db"])
    which: str = Field(
        default="newest",
        description="newest, random, least-recently-verified, or a backup's id in the catalogue",
        examples=["newest", "campus-db/1/20261122-010203F"],
    )
    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )
