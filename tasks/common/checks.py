"""How checks of pull requests are kept apart from everything else, as the estate file says it (TRG-1)."""

from typing import Literal

from pydantic import Field

from tasks.common.model import StrictModel
from tasks.common.units import PositiveDuration


class Checks(StrictModel):
    """Who runs the commands of commits that nobody has judged yet, and for how long."""

    isolation: Literal["other-user", "same-user"] = Field(
        default="other-user",
        description="other-user: the worker is root, and the commands run as `user`; same-user: they run as the worker "
        "itself, which is not root, and can read all of its files",
    )
    user: str | None = Field(
        default=None,
        min_length=1,
        description="user that the commands run as: one of this machine that owns nothing and runs nothing else",
        examples=["slipway-check"],
    )
    folder: str = Field(
        default="",
        description="folder for the check-outs, which that user can reach; the folder checks of the workspace if empty",
    )
    at_most_s: PositiveDuration = Field(
        default=3600.0, alias="at_most", description="a check that takes longer has failed, whatever its commands allow"
    )
