"""The nouns of scanning: findings and reports."""

from dataclasses import dataclass

from tasks.common.service import Severity


@dataclass(frozen=True)
class Finding:
    """One thing that a scanner found. `line` is 1-based, 0 where the tool gives none. Never holds a secret's text."""

    tool: str
    rule: str
    severity: Severity
    path: str
    line: int
    message: str


@dataclass(frozen=True)
class ScanReport:
    """What one tool found, in the tree that it was given."""

    tool: str
    findings: tuple[Finding, ...]
    duration_s: float
