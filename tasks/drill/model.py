"""Nouns of drills: what is injected, what was seen, what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class NodeState(StrEnum):
    """What a node says when it is asked directly."""

    WRITABLE = "writable"
    READ_ONLY = "read-only"
    """A standby, or one that was told to take no writes."""
    SHUT = "shut"
    """It would take writes, and its site's entrance lets nobody in."""
    SILENT = "silent"
    """No answer, for whatever reason."""


@dataclass(frozen=True)
class Injection:
    """One fault, as its driver needs it: data, so that whoever undoes it needs nothing else.

    Args:
        driver: name of the fault's driver.
        settings: of the driver, with nothing left to fill in; references in place of secrets.
        node: what it is about; '' where no node is.
    """

    driver: str
    settings: Mapping[str, object]
    node: str = ""

    def __str__(self) -> str:
        """Return 'kill on a1', as people read it."""
        return f"{self.driver} on {self.node}" if self.node else self.driver


@dataclass(frozen=True)
class Undone:
    """What undoing has come to.

    Args:
        said: what was done, or found, in words.
        by_hand: what a person has to do all the same, as no driver can; '' if nothing.
    """

    said: str
    by_hand: str = ""


@dataclass(frozen=True)
class NodeSeen:
    """A node, asked directly.

    Args:
        name: of the node.
        state: whether it takes writes.
        system_id: of its cluster; '' while it is silent.
        why: what was wrong, if it is silent.
    """

    name: str
    state: NodeState
    system_id: str = ""
    why: str = ""


@dataclass(frozen=True)
class Happening:
    """One line of a drill's timeline.

    Args:
        at_s: when, by the monotonic clock of the machine.
        what: 'injected', 'undone' ...
        said: more about it.
    """

    at_s: float
    what: str
    said: str = ""


@dataclass(frozen=True)
class Plan:
    """What a drill would do, in this order."""

    injections: tuple[Injection, ...]
    steps: tuple[str, ...] = field(default_factory=tuple)
