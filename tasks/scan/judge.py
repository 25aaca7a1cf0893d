"""Decides what blocks a release: what is new, what was accepted, what was accepted for too long."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import get_args

from tasks.common.service import AcceptedFinding, Scan, Severity
from tasks.scan.model import Finding, Judged, Noted, ScanReport, Verdict

RECORDED_AT_MOST = 500
_SEVERITIES: tuple[Severity, ...] = get_args(Severity)


def judge(
    reports: Iterable[tuple[Scan, ScanReport]],
    accepted: Sequence[AcceptedFinding],
    before: Iterable[Finding] | None,
    today: date,
) -> Verdict:
    """Return what the findings come to, the most severe first, then by path and line.

    A finding stops the release if its severity is one that its scan stops for, known or new, and nobody accepts it
    today. One that the tool marks as suppressed counts like any other: SARIF has no place for the expiry date that an
    accepted finding needs (SCN-2). An acceptance that has expired counts as none; it is named with its finding.

    Args:
        reports: each scan of the service file with what its tool found.
        accepted: of the service file. Where several fit, one that has not expired counts.
        before: findings of the last release; None if there was none. As many as it had of one fingerprint are known.
        today: the day, in UTC.
    """
    left = Counter(finding.fingerprint for finding in before or ())
    judged = []
    for spec, finding in _sorted((spec, finding) for spec, report in reports for finding in report.findings):
        known = left[finding.fingerprint] > 0
        left[finding.fingerprint] -= known
        fitting = [entry for entry in accepted if _fits(entry, finding)]
        acceptance = max(fitting, key=lambda entry: entry.until, default=None)
        expired = acceptance is not None and acceptance.until < today
        blocks = finding.severity in spec.stopping and (acceptance is None or expired)
        judged.append(Judged(finding, known, blocks, acceptance, expired))
    return Verdict(tuple(judged), compared=before is not None)


def _fits(entry: AcceptedFinding, finding: Finding) -> bool:
    return (entry.tool, entry.rule) == (finding.tool, finding.rule) and entry.path in (None, finding.path)


def _sorted(found: Iterable[tuple[Scan, Finding]]) -> list[tuple[Scan, Finding]]:
    return sorted(found, key=lambda each: _order(each[1]))


def _order(finding: Finding) -> tuple[int, str, str, int, str, str]:
    severity = _SEVERITIES.index(finding.severity)
    return severity, finding.path, finding.tool, finding.line, finding.rule, finding.message


def facts(verdict: Verdict) -> dict[str, object]:
    """Return a verdict as JSON data for the ledger: counts, and the findings, which the next release compares with.

    500 findings at most, the most severe ones; `left_out` counts the rest.
    """
    recorded = verdict.findings[:RECORDED_AT_MOST]
    return {
        "found": len(verdict.findings),
        "new": len(verdict.new),
        "known": len(verdict.known),
        "accepted": len(verdict.accepted),
        "blocking": len(verdict.blocking),
        "findings": [_record(each) for each in recorded],
        "left_out": len(verdict.findings) - len(recorded),
    }


def _record(judged: Judged) -> dict[str, object]:
    finding, acceptance = judged.finding, judged.acceptance
    record: dict[str, object] = {
        "fingerprint": finding.fingerprint,
        "tool": finding.tool,
        "rule": finding.rule,
        "severity": finding.severity,
        "path": finding.path,
        "line": finding.line,
        "message": finding.message,
        "blocks": judged.blocks,
    }
    if acceptance is not None:
        record.update(accepted_until=acceptance.until.isoformat(), reason=acceptance.reason)
    return record


def recorded_findings(evidence: Iterable[Noted]) -> tuple[Finding, ...]:
    """Return the findings in the evidence of a run, in its order: what the next release is compared with.

    What is no finding, such as evidence of a version of Slipway that kept none, is left out: its findings then show as
    new, and nothing passes because of it.
    """
    return tuple(
        finding
        for item in evidence
        if item.kind == "scan"
        for record in _records(item.facts.get("findings"))
        if (finding := _finding(record)) is not None
    )


def _records(value: object) -> Collection[object]:
    return value if isinstance(value, list | tuple) else ()


def _finding(record: object) -> Finding | None:
    if not isinstance(record, Mapping):
        return None
    tool, rule, path, message = (record.get(key) for key in ("tool", "rule", "path", "message"))
    severity, line = record.get("severity"), record.get("line")
    if not (isinstance(tool, str) and isinstance(rule, str) and isinstance(path, str) and isinstance(message, str)):
        return None
    if severity not in _SEVERITIES or not isinstance(line, int):
        return None
    return Finding(tool, rule, severity, path, line, message)
