"""What is asked for when an environment is looked at as its users see it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MonitorRequest(BaseModel):
    """Send what serves an environment the requests that its service file names."""

    model_config = ConfigDict(extra="forbid")

    service: str = Field(description="name of the service, as in its slipway.yaml", examples=["campus"])
    environment: str = Field(default="production", description="where it serves")
    checks: Literal["smoke", "features", "all"] = Field(
        default="all", description="its smoke tests, its critical features, or both"
    )
    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )
