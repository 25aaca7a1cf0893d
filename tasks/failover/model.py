"""The nouns of a failover: what is asked for, what was seen, what is decided, and the steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tasks.common.errors import Refused
from tasks.common.failovers import Scope
from tasks.common.moves import Move, MoveKind
from tasks.common.sites import Answer, Cluster, ClusterRole, Door, Region


class TakenBack(Refused):
    """A planned move has failed after it had changed something, and the site that served before serves again."""

    meaning = "Failed (taken back)"


@dataclass(frozen=True)
class SiteSeen:
    """One site, as it was observed.

    Args:
        region: where it is.
        cluster: its database; None where nothing of it answered.
        door: its entrance; None where it did not answer.
        addresses: where users reach it, sorted.
        primary_at: 'host:port' where other sites follow its primary.
        problem: why something is None, one sentence, without secrets.
    """

    region: Region
    cluster: Cluster | None
    door: Door | None
    addresses: tuple[str, ...]
    primary_at: str
    problem: str = ""

    @property
    def name(self) -> str:
        """Return the region's name."""
        return self.region.name

    @property
    def shut(self) -> bool:
        """Return whether it is shown that no user gets in."""
        return self.door is not None and self.door.shut

    @property
    def stopped_writing(self) -> bool:
        """Return whether it is shown that its database takes no writes, and will not by itself."""
        return self.cluster is not None and self.cluster.stopped_writing

    @property
    def fenced(self) -> bool:
        """Return whether it is shown that no user's write can be taken there: no writer, or nobody gets in."""
        return self.shut or self.stopped_writing

    @property
    def leads(self) -> bool:
        """Return whether its cluster is a primary by its configuration, whether it works or not."""
        return self.cluster is not None and self.cluster.role is ClusterRole.PRIMARY

    @property
    def serves(self) -> bool:
        """Return whether its database takes writes and users get in."""
        return self.cluster is not None and self.cluster.serves and self.door is not None and self.door.open is True


@dataclass(frozen=True)
class Seen:
    """Everything that a move is about, as it was observed.

    Args:
        sites: by region.
        answers: of the DNS server by name; None where it did not answer.
    """

    sites: Mapping[str, SiteSeen]
    answers: Mapping[str, Answer | None]

    def pointed_to(self) -> str | None:
        """Return the region that all the names point to; None where they do not agree, or the server is silent."""
        found = set()
        for answer in self.answers.values():
            at = [site.name for site in self.sites.values() if answer and answer.addresses == site.addresses]
            found.add(at[0] if len(at) == 1 else None)
        return found.pop() if len(found) == 1 else None

    def others(self, *names: str) -> tuple[SiteSeen, ...]:
        """Return the sites but for those named, by DR priority."""
        rest = [site for name, site in self.sites.items() if name not in names]
        return tuple(sorted(rest, key=lambda site: (site.region.priority, site.name)))


class Finding(StrEnum):
    """What a detector has found of a site."""

    UP = "up"
    SITE_DOWN = "site down"
    """A quorum of the vantage points reaches nothing of it."""
    DATABASE_DOWN = "database down"
    """A quorum finds that the site answers, and that its database does not."""
    NETWORK = "network down"
    """Some vantage points do not reach it, and the others do, or they reach nothing at all."""
    UNKNOWN = "unknown"
    """Fewer vantage points than the quorum could say anything."""


@dataclass(frozen=True)
class Detection:
    """What a detector has found when it asked for a failover.

    Args:
        region: the site.
        finding: of it.
        points: how many vantage points say so.
        quorum: how many it takes.
        since: when the first of the failures was seen; aware.
    """

    region: str
    finding: Finding
    points: int
    quorum: int
    since: datetime


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Args:
        kind: failover, switchover or failback.
        to: the region that is to serve; '' where that is to be chosen.
        detection: of the detector that asks; None where a person does.
        down_since: when the site stopped to serve; None where nobody says.
        accept_loss: why a loss beyond the objective is taken, in the words of who takes it; '' where nobody does.
        accept_unfenced: why it is taken that the old site may still take writes; '' where nobody does.
        by: who asks.
    """

    kind: MoveKind
    to: str = ""
    detection: Detection | None = None
    down_since: datetime | None = None
    accept_loss: str = ""
    accept_unfenced: str = ""
    by: str = ""


@dataclass(frozen=True)
class Rules:
    """What the estate file says of a failover, as far as it bears on the decision.

    Args:
        name: of the failover.
        scope: who decides.
        rpo_s: the longest time whose writes may be lost without anybody's word, in seconds.
        names: that users ask the DNS for.
        ttl_s: that the names are given.
        system_id: of the data; '' where the file does not say.
        lag_at_start_s: how far a standby may be behind when a planned move begins, in seconds.
    """

    name: str
    scope: Scope
    rpo_s: float
    names: tuple[str, ...]
    ttl_s: int
    system_id: str = ""
    lag_at_start_s: float = 10.0


@dataclass(frozen=True)
class Loss:
    """What a promotion would lose of what was acknowledged.

    Args:
        seconds: the writes of so long, at most; None where nobody can say.
        bytes: of WAL; None where nobody can say.
        how: how it is known, one sentence.
    """

    seconds: float | None
    bytes: int | None
    how: str


@dataclass(frozen=True)
class Decision:
    """What will be done, and whether a person is asked before.

    Args:
        move: from where to where.
        asks: why a person is asked; '' where nobody is.
        loss: what is lost.
        remarks: what a person has to know, one sentence each.
        carried_on: whether the move was decided on by a run before.
    """

    move: Move
    asks: str
    loss: Loss
    remarks: tuple[str, ...] = ()
    carried_on: bool = False


class Act(StrEnum):
    """What a step does."""

    CLOSE_DOOR = "close the door"
    FENCE = "fence the database"
    FOLLOW = "have the database follow"
    NEARLY_CAUGHT_UP = "wait until it is nearly caught up"
    CATCH_UP = "wait until it has everything"
    PROMOTE = "promote"
    OPEN_DOOR = "open the door"
    POINT = "point the users"
    VALIDATE = "validate as a user"


class Phase(StrEnum):
    """A part of a move, which a run does as one task; in this order."""

    READY = "make the new site ready"
    FENCE = "fence the old site"
    CATCH_UP = "wait until the new site has everything"
    PROMOTE = "promote the new site"
    LET_IN = "let users in at the new site"
    POINT = "point users to the new site"
    VALIDATE = "validate as a user"
    FOLLOW = "have standbys follow the new site"


@dataclass(frozen=True)
class Step:
    """One step of a move.

    Args:
        phase: the part of the move that it belongs to.
        act: what it does.
        site: where.
        toward: the other site, where the step is about two.
        names: that are pointed.
        rebuild: whether data that only this site has may be thrown away.
        best_effort: whether the move goes on where it fails: another step may show the same, or nothing needs it.
    """

    phase: Phase
    act: Act
    site: str
    toward: str = ""
    names: tuple[str, ...] = ()
    rebuild: bool = False
    best_effort: bool = False

    def __str__(self) -> str:
        """Return it for people: 'eu-west: promote'."""
        more = {
            Act.FOLLOW: f" {self.toward}{', and throw away what only it has' if self.rebuild else ''}",
            Act.CATCH_UP: f" of {self.toward}",
            Act.NEARLY_CAUGHT_UP: f" with {self.toward}",
            Act.POINT: f" there: {', '.join(self.names)}",
        }
        return f"{self.site}: {self.act}{more.get(self.act, '')}"


@dataclass(frozen=True)
class Visited:
    """What came of one request that was sent as a user.

    Args:
        label: what it shows.
        problem: why it was not answered as it must be; '' where it was.
        took_s: until the end of the answer.
    """

    label: str
    problem: str
    took_s: float
