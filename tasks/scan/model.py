"""The nouns of scanning: findings, reports, and what was judged of them."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tasks.common.service import AcceptedFinding, Severity

_NUMBERS = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Finding:
    """One thing that a scanner found. `line` is 1-based, 0 where the tool gives none. Never holds a secret's text.

    `path` is a file, relative to the tree; in reports about dependencies the package's name.
    """

    tool: str
    rule: str
    severity: Severity
    path: str
    line: int
    message: str

    @property
    def fingerprint(self) -> str:
        """Return what the finding is told by in another version: tool, rule, path and message, but no numbers of it.

        The line is left out, and so are the message's numbers: both change when something else is edited.
        """
        parts = (self.tool, self.rule, self.path, _NUMBERS.sub("0", self.message))
        return hashlib.sha256("\0".join(parts).encode("utf-8", errors="replace")).hexdigest()[:16]


@dataclass(frozen=True)
class ScanReport:
    """What one tool found, in the tree that it was given."""

    tool: str
    findings: tuple[Finding, ...]
    duration_s: float


@dataclass(frozen=True)
class Judged:
    """One finding and what follows from it.

    Args:
        finding: what was found.
        known: the last release had it, too.
        blocks: it stops the release.
        acceptance: the entry of the service file that is about it, also one that has expired; None if there is none.
        expired: that entry's last day is over, so that it accepts nothing any more.
    """

    finding: Finding
    known: bool
    blocks: bool
    acceptance: AcceptedFinding | None = None
    expired: bool = False

    @property
    def accepted(self) -> bool:
        """Return whether somebody has accepted it, and still does."""
        return self.acceptance is not None and not self.expired


@dataclass(frozen=True)
class Verdict:
    """What all findings of a release come to, the most severe first.

    Args:
        findings: every finding of every tool.
        compared: there was a former release to compare with; else every finding counts as new.
    """

    findings: tuple[Judged, ...]
    compared: bool

    @property
    def blocking(self) -> tuple[Judged, ...]:
        """Return what stops the release."""
        return tuple(each for each in self.findings if each.blocks)

    @property
    def accepted(self) -> tuple[Judged, ...]:
        """Return what was accepted."""
        return tuple(each for each in self.findings if each.accepted)

    @property
    def new(self) -> tuple[Judged, ...]:
        """Return what the last release did not have and nobody accepted."""
        return tuple(each for each in self.findings if not each.known and not each.accepted)

    @property
    def known(self) -> tuple[Judged, ...]:
        """Return what the last release had, too, and nobody accepted."""
        return tuple(each for each in self.findings if each.known and not each.accepted)


class Noted(Protocol):
    """One fact of a run as the ledger keeps it; the ledger's evidence is such."""

    @property
    def kind(self) -> str:
        """What it is about, such as 'scan'."""
        ...

    @property
    def facts(self) -> Mapping[str, object]:
        """JSON data."""
        ...
