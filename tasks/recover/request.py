"""What is asked for when a whole service is brought back: the form in the Prefect UI is made from this model."""

from pydantic import BaseModel, ConfigDict, Field


class RecoverRequest(BaseModel):
    """Bring a service back from its backups and its kept artefacts, into an environment where nothing is left."""

    model_config = ConfigDict(extra="forbid")

    service: str = Field(description="name of the service, as in the estate file", examples=["campus"])
    environment: str = Field(default="production", description="where it is to serve")
    plans: list[str] = Field(
        default_factory=list,
        description="backup plans, restored in this order into their targets with 'source: true'; none: all such plans",
    )
    release: str = Field(
        default="", description="as 'slipway releases list' shows it; empty: the last one that succeeded there"
    )
    site: str = Field(
        default="", description="region that the names of the service's failover are pointed to; empty: not changed"
    )
    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )
    requested_by: str = Field(default="", description="who asks, for the record; not authenticated by this server")
