"""What is asked for when migrations are applied or undone: the forms in the Prefect UI are made from these models."""

from pydantic import BaseModel, ConfigDict, Field

from tasks.common.migrations import Phase


class _OfDatabase(BaseModel):
    model_config = ConfigDict(extra="forbid")

    service: str = Field(description="name of the service", examples=["campus"])
    environment: str = Field(description="environment whose database is meant", examples=["production"])
    commit: str = Field(default="", description="commit, branch or tag that has the migrations; empty: the newest")
    folder: str = Field(
        default="", description="a folder of migrations on the worker's machine, in place of the repository's"
    )
    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )
    requested_by: str = Field(default="", description="who asks, for the record; not authenticated by this server")


class MigrateRequest(_OfDatabase):
    """Bring a database's migrations through a phase."""

    through: Phase = Field(
        default=Phase.VALIDATE, description="the last phase that is done; cleanup removes the old shape for good"
    )
    upto: str = Field(default="", description="name of the last migration; empty: all")
    backup: str = Field(default="", description="id of the backup that was taken before, for the history")
    accept_contract: str = Field(
        default="",
        max_length=500,
        description="why the old shape is removed although conditions of that are not met, for the record; empty: it "
        "is not",
    )


class PartitionsRequest(BaseModel):
    """Make partitions ahead, and let the old ones go."""

    model_config = ConfigDict(extra="forbid")

    service: str = Field(default="", description="name of the service; empty: all")
    environment: str = Field(default="", description="environment whose database is meant; empty: all")
    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )
    requested_by: str = Field(default="", description="who asks, for the record; not authenticated by this server")


class UndoRequest(_OfDatabase):
    """Take the newest migration back."""

    name: str = Field(description="of the migration", examples=["0003_merge_names"])
    accept_contract: str = Field(
        default="",
        max_length=500,
        description="why it is undone although code that serves has it, for the record; empty: it is not",
    )
