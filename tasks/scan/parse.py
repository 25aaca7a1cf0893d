"""Reads the reports of scanners. A report that is cut short, empty, or tells of a failure is no report."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import BaseModel, Field

from tasks.common.service import ReportFormat
from tasks.scan.audits import parse_npm_audit, parse_pip_audit
from tasks.scan.model import Finding
from tasks.scan.reading import RULE_AT_MOST, InvalidReport, document, relative, validated
from tasks.scan.sarif import parse_sarif

__all__ = ["InvalidReport", "parse_report"]


class _DetectedSecret(BaseModel):
    type: str
    line_number: Annotated[int, Field(ge=0)] = 0


class _DetectSecrets(BaseModel):
    version: str
    # Without a plugin it searches for nothing, and reports that it found nothing.
    plugins_used: Annotated[list[object], Field(min_length=1)]
    results: dict[str, list[_DetectedSecret]]


def parse_report(report_format: ReportFormat, text: str, *, tool: str, tree: PurePosixPath) -> tuple[Finding, ...]:
    """Return the findings of a report, in its order, without the text of any secret that was found.

    Args:
        report_format: 'sarif' (2.1.0), or the JSON of the tool of that name: of detect-secrets' scan command, of
            pip-audit with '-f json', of npm audit with '--json' (npm 7 and later).
        text: the whole report.
        tool: name that the findings carry.
        tree: absolute path of the tree that was scanned, without symbolic links; paths are returned relative to it.

    Raises:
        InvalidReport: it is empty, cut short or of another format, or the tool reports that it could not do its work.
    """
    return _PARSERS[report_format](document(text), tool, tree)


def _detect_secrets(document: object, tool: str, tree: PurePosixPath) -> tuple[Finding, ...]:
    report = validated(_DetectSecrets, document, "JSON of detect-secrets")
    return tuple(
        Finding(
            tool=tool,
            rule=secret.type[:RULE_AT_MOST],
            severity="high",
            path=relative(path, tree),
            line=secret.line_number,
            message="looks like a secret; remove it, and replace it where it is valid",
        )
        for path, secrets in report.results.items()
        for secret in secrets
    )


_PARSERS: dict[ReportFormat, Callable[[object, str, PurePosixPath], tuple[Finding, ...]]] = {
    "sarif": parse_sarif,
    "detect-secrets": _detect_secrets,
    "pip-audit": parse_pip_audit,
    "npm-audit": parse_npm_audit,
}
