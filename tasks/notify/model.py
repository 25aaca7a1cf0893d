"""The nouns of notification: messages, and what became of them."""

from dataclasses import dataclass, field
from datetime import datetime

from tasks.common.occasion import Occasion


@dataclass(frozen=True)
class Message:
    """Something that people should know.

    Args:
        title: one line: what, where, how it ended.
        text: why, and what to do next; lines of plain text.
        occasion: decides who is told, and how it looks.
        environment: what it is about; decides who is told.
        at: when it was so, aware.
        facts: further figures, by name.
        link: an address to read on at; empty where there is none.
    """

    title: str
    text: str
    occasion: Occasion
    environment: str
    at: datetime
    facts: dict[str, object] = field(default_factory=dict, hash=False)
    link: str = ""


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
