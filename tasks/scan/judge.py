"""Decides what blocks a release, and shows what was found."""

import html
import re
from collections.abc import Collection, Iterable
from typing import get_args

from tasks.common.service import Severity
from tasks.scan.model import Finding, ScanReport

_SEVERITIES: tuple[Severity, ...] = get_args(Severity)
_ROWS_AT_MOST = 200
# What Markdown gives a meaning to; html.escape has dealt with <, > and &.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()!|~:@.])")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def blocking(report: ScanReport, fail_on: Collection[Severity]) -> tuple[Finding, ...]:
    """Return the findings that must stop a release, the most severe first, then by path and line.

    A finding that the tool marks as suppressed counts like any other: SARIF has no place for the expiry date that an
    accepted finding needs (SCN-2).
    """
    return _sorted(finding for finding in report.findings if finding.severity in fail_on)


def findings_table(findings: Collection[Finding]) -> str:
    """Return a Markdown table of the findings, the most severe first; 200 rows at most, the rest counted below it.

    Nothing in a finding can change the table or become a link, an image or HTML: files are named by whoever wrote them.
    """
    if not findings:
        return "No findings.\n"
    rows = _sorted(findings)
    lines = ["| severity | tool | rule | where | what |", "|---|---|---|---|---|"]
    lines += [_row(finding) for finding in rows[:_ROWS_AT_MOST]]
    if len(rows) > _ROWS_AT_MOST:
        lines += ["", f"... and {len(rows) - _ROWS_AT_MOST} more, none of them more severe than the last row."]
    return "\n".join(lines) + "\n"


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda f: (_SEVERITIES.index(f.severity), f.path, f.line, f.rule, f.message)))


def _row(finding: Finding) -> str:
    where = f"{finding.path}:{finding.line}" if finding.line else finding.path or "(no file)"
    return "| " + " | ".join(map(_cell, (finding.severity, finding.tool, finding.rule, where, finding.message))) + " |"


def _cell(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", html.escape(_UNSEEN.sub(" ", text), quote=False)).strip() or "-"
