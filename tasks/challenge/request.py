"""What is asked for when a verification is challenged: the form in the Prefect UI is made from this model."""

from pydantic import BaseModel, ConfigDict, Field


class ChallengeRequest(BaseModel):
    """Damage a copy on purpose in every way there is, and show that the plan's verification finds it."""

    model_config = ConfigDict(extra="forbid")

    plan: str = Field(description="name of the backup plan, as in the estate file", examples=["campus-db"])
    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )
    requested_by: str = Field(default="", description="who asks, for the record; not authenticated by this server")
