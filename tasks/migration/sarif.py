"""Findings as SARIF 2.1.0, which the scans of a release read. Pure."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from tasks.migration.lint import RULES, Finding

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_HELP = "https://squawkhq.com/docs/{}"


def sarif(findings: Sequence[Finding], folder: PurePosixPath) -> dict[str, Any]:
    """Return a report that tells of every finding.

    Args:
        findings: all that there are.
        folder: of the migrations, from the repository's root.
    """
    rules = sorted({each.rule for each in findings})
    driver = {"name": "slipway migration lint", "rules": [_rule(each) for each in rules]}
    run = {
        "tool": {"driver": driver},
        # Else 'no results' could be a run that has looked at nothing.
        "invocations": [{"executionSuccessful": True}],
        "results": [_result(each, rules.index(each.rule), folder) for each in findings],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(name: str) -> dict[str, Any]:
    if name in RULES:
        return {"id": name, "shortDescription": {"text": RULES[name]}}
    return {"id": name, "shortDescription": {"text": f"squawk: {name}"}, "helpUri": _HELP.format(name)}


def _result(finding: Finding, rule: int, folder: PurePosixPath) -> dict[str, Any]:
    place = {
        "artifactLocation": {"uri": quote(str(folder / finding.path))},
        "region": {"startLine": finding.line},
    }
    return {
        "ruleId": finding.rule,
        "ruleIndex": rule,
        "level": finding.level,
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": place}],
    }
