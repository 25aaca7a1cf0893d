"""What is asked for when users move to another site: the forms in the Prefect UI are made from these models."""

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tasks.common.moves import MoveKind
from tasks.failover.model import Detection, Finding, Wish


class MoveRequest(BaseModel):
    """Move the writes and the users of a failover to another site; nothing may be lost."""

    model_config = ConfigDict(extra="forbid")

    failover: str = Field(description="its name, as in the estate file", examples=["campus"])
    to: str = Field(description="region of the site that is to serve", examples=["eu-west"])
    estate: str = Field(
        default="", description="path of the estate file; empty: the one that the worker was started with"
    )
    requested_by: str = Field(default="", description="who asks, for the record; not authenticated by this server")

    def wish(self, kind: MoveKind) -> Wish:
        """Return what is asked for."""
        return Wish(kind, self.to, by=self.requested_by)


class FailoverRequest(MoveRequest):
    """Move the writes and the users to another site because the one that serves is down."""

    to: str = Field(
        default="",
        description="region of the site that is to serve; empty: the fit one of the highest priority in the zone",
    )
    down_since: AwareDatetime | None = Field(
        default=None,
        description="when the site stopped to serve, if that is known: by it is told what is lost",
        examples=["2026-11-22T13:37:00Z"],
    )
    accept_loss: str = Field(
        default="", description="why a loss beyond the objective is taken; kept on record with who asks"
    )
    accept_unfenced: str = Field(
        default="",
        description="how it is known that the old site takes no writes, though it cannot be shown; kept on record",
    )
    finding: str = Field(default="", description="what 'slipway watch' has found; empty where a person asks")
    region: str = Field(default="", description="the site that it was found of")
    points: int = Field(default=0, ge=0, description="how many vantage points say so")
    quorum: int = Field(default=0, ge=0, description="how many it takes")

    def wish(self, kind: MoveKind) -> Wish:
        """Return what is asked for."""
        found = None
        if self.finding:
            since = self.down_since
            assert since is not None, "a detector says since when"
            found = Detection(self.region, Finding(self.finding), self.points, self.quorum, since)
        return Wish(
            kind,
            self.to,
            found,
            self.down_since,
            self.accept_loss,
            self.accept_unfenced,
            self.requested_by or "unknown",
        )


def moment(at: datetime) -> str:
    """Return a moment for people, by its own clock."""
    return f"{at:%Y-%m-%d %H:%M:%S %Z}"
