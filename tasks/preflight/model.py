"""The nouns of preflight: what is looked at, and what was found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `mend` says what to do where it is not well."""

    name: str
    well: bool
    found: str
    mend: str = ""


@dataclass(frozen=True)
class Look:
    """Something to look at: `ask` changes nothing, and returns what it found or raises one of our errors.

    Args:
        name: what it is called where `ask` raises.
        ask: looks.
    """

    name: str
    ask: Callable[[], Sequence[Finding]]


@dataclass(frozen=True)
class Looked:
    """What one look has found, and how long it took."""

    findings: tuple[Finding, ...]
    duration_s: float


@dataclass(frozen=True)
class Certificate:
    """A server's TLS certificate that was accepted: whom it is for, and until when (aware)."""

    subject: str
    not_after: datetime
