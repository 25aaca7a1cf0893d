"""The nouns of notification: messages, what they are about, and what became of them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tasks.common.occasion import Occasion, Severity, severity_of


class Topic(StrEnum):
    """What can be in trouble at a place, and be well again."""

    RELEASE = "release"
    """What serves there. A rollback is about the same: one that succeeds ends the trouble that a release has made."""
    DRIFT = "drift"
    """Whether it is as it was left."""
    RECONCILIATION = "reconciliation"
    """Whether runs that have died could be brought to an end."""
    RUN = "run"
    """Whether runs come, and come to a good end."""
    BACKUP = "backup"
    """Whether a plan's data are backed up; its name stands where a service's does."""
    VERIFICATION = "verification"
    """Whether a plan's verification finds damage."""

    WAL = "wal"
    """Whether the source of a plan gets rid of its WAL; the plan's name stands where a service's does."""
    RESTORE = "restore"
    """Whether a plan's data could be restored; 'PLAN into TARGET' stands where a service's name does."""
    FAILOVER = "failover"
    """Whether users could be moved to another site; the failover's name stands where a service's does."""
    DRILL = "drill"
    """Whether a failure that is practised goes as it should; the drill's name stands where a service's does."""


@dataclass(frozen=True)
class About:
    """What a message is about: messages about the same thing are equal here, and tell of one trouble.

    Args:
        topic: what can be in trouble.
        estate: the estate's name.
        service: which service; '' for all of them.
        environment: where; '' for the whole estate.
        schedule: which schedule; '' for none.
    """

    topic: Topic
    estate: str
    service: str = ""
    environment: str = ""
    schedule: str = ""

    def __str__(self) -> str:
        """Return 'campus in production of lab', or 'lab' where it is about the whole estate."""
        place = " in ".join(part for part in (self.service, self.environment) if part)
        return f"{place} of {self.estate}" if place else self.estate


@dataclass(frozen=True)
class Message:
    """Something that people should know.

    Args:
        title: one line: what, where, how it ended.
        text: why, and what to do next; lines of plain text.
        occasion: decides who is told, and how it looks.
        about: what it is about; its environment decides who is told.
        at: when it was so, aware.
        facts: further figures, by name.
        link: an address to read on at; empty where there is none.
    """

    title: str
    text: str
    occasion: Occasion
    about: About
    at: datetime
    facts: dict[str, object] = field(default_factory=dict, hash=False)
    link: str = ""

    @property
    def severity(self) -> Severity:
        """Return how much it matters."""
        return severity_of(self.occasion)

    @property
    def ends_trouble(self) -> bool:
        """Return whether what it is about is well again, whatever was told of it before."""
        return self.occasion is Occasion.SUCCEEDED


@dataclass(frozen=True)
class Delivery:
    """What became of a message at one channel; `problem` is empty where it was sent."""

    channel: str
    tries: int
    problem: str = ""

    @property
    def sent(self) -> bool:
        """Return whether the channel took the message."""
        return not self.problem
