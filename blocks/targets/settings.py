"""What an estate file says of a PostgreSQL server that is restored into."""

from typing import Self

from pydantic import Field, model_validator

from tasks.common.model import Problem, StrictModel, refuse
from tasks.common.units import PositiveDuration


class Settings(StrictModel):
    """Settings of the driver `postgresql` of targets."""

    data: str = Field(
        min_length=1, description="the data folder; folders beside it, of the same name and more, are ours"
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="where it answers when it is open")
    port: int = Field(default=5432, ge=1, le=65535, description="the port that it answers on")
    superuser: str = Field(default="postgres", min_length=1, description="name of the superuser of what is restored")
    config_file: str | None = Field(
        default=None, description="its postgresql.conf, where that is not in the data folder, as on Debian"
    )
    options: dict[str, str] = Field(
        default_factory=dict, description="server settings that count whatever its files say, such as a socket's folder"
    )
    start: list[str] | None = Field(
        default=None, min_length=1, description="command that starts it, such as systemctl; default: pg_ctl"
    )
    stop: list[str] | None = Field(
        default=None, min_length=1, description="command that stops it; default: its fast shutdown"
    )
    preload: list[str] = Field(
        default_factory=list, description="libraries that it cannot recover without (shared_preload_libraries)"
    )
    start_within_s: PositiveDuration = Field(
        default=3600.0, alias="start_within", description="longest time until it has recovered, or is open"
    )
    stop_within_s: PositiveDuration = Field(
        default=300.0, alias="stop_within", description="longest time of a clean stop; nothing is killed after it"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.start is None) != (self.stop is None):
            missing = "stop" if self.stop is None else "start"
            refuse("Settings", [Problem((missing,), "nothing", "a command, as there is one for the other")])
        ours = sorted(self.options.keys() & {"listen_addresses", "port", "config_file", "data_directory"})
        if self.start is not None and self.options:
            refuse("Settings", [Problem(("options",), "settings", "none: the command that starts it gives them")])
        refuse("Settings", [Problem(("options", name), "a key of its own", "it beside 'options'") for name in ours])
        return self
