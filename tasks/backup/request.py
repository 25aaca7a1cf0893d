"""What is asked for when a backup is started: the form in the Prefect UI is made from this model."""

from pydantic import BaseModel, ConfigDict, Field

from tasks.common.backups import BackupKind


class BackupRequest(BaseModel):
    """Take a backup of a plan, and remove what the plan keeps no longer."""

    model_config = ConfigDict(extra="forbid")

    plan: str = Field(description="name of the plan, under backups of the estate file", examples=["campus-db"])
    kind: BackupKind = Field(
        default=BackupKind.FULL, description="how much of the source it holds itself; not every engine can take each"
    )
    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )
    accept_loss: bool = Field(
        default=False,
        description="what a repository holds no more is lost for good: go on where none of the catalogue's is there",
    )
    requested_by: str = Field(default="", description="who asks, for the record; not authenticated by this server")
