"""What is asked for when something is practised: the form in the Prefect UI is made from this model."""

from pydantic import BaseModel, ConfigDict, Field


class DrillRequest(BaseModel):
    """Break something on purpose, watch what becomes of it, put it right, and measure."""

    model_config = ConfigDict(extra="forbid")

    drill: str = Field(description="name of the experiment", examples=["node-lost"])
    repeat: int = Field(default=1, ge=1, le=100, description="so often, one after the other: the spread is reported")
    dry_run: bool = Field(default=False, description="print the plan, and break nothing")
    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )
    requested_by: str = Field(default="", description="who asks, for the record; not authenticated by this server")
