"""What a person reads about a check: a summary first, then tests, coverage and scans. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.common.markdown import escape, table
from tasks.common.units import show_duration
from tasks.release.model import Commit, Evidence
from tasks.release.report import wrapped
from tasks.release.request import CheckRequest

_COUNTS = ("found", "new", "known", "accepted", "blocking")


@dataclass(frozen=True)
class Checked:
    """What was checked, and by what it was judged.

    Args:
        request: what was asked for, without secrets.
        commit: what was checked, without secrets.
        rules: the commit of the default branch whose scans and accepted findings count.
        user: who has run the commands; '' for the worker itself.
        without: the secrets that the tests ask for, and did not get.
    """

    request: CheckRequest
    commit: Commit
    rules: Commit
    user: str
    without: Sequence[str]


def check_text(checked: Checked, evidence: Sequence[Evidence], error: str | None) -> str:
    """Return the Markdown of a check's artifact.

    Args:
        checked: what it was about.
        evidence: what it has noted.
        error: why it did not pass, without secrets; None if it did.
    """
    request, commit = checked.request, checked.commit
    about = f", pull request {escape(request.pull_request)}" if request.pull_request else ""
    parts = [
        f"# {escape(request.service)} {commit.short}{about}",
        f"The check {'**failed**' if error else '**passed**'}. _{escape(commit.subject)}_",
        "Nothing was published or deployed, and the ledger has no record of it.",
        _facts(checked),
    ]
    if error:
        parts.append(f"## Why\n\n```text\n{wrapped(error)}\n```")
    parts += [_tests(evidence), _coverage(evidence), _scans(evidence)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(checked: Checked) -> str:
    request = checked.request
    rules = f"scans and accepted findings of the default branch, as of {checked.rules.short}; commands of the commit"
    rows = [
        ("commit", checked.commit.sha),
        ("ref", escape(request.ref) or "a branch or tag"),
        ("judged by", rules),
        ("commands ran as", escape(checked.user) or "the worker's own user, which can read its files"),
        ("asked for by", f"{escape(request.requested_by) or 'unknown'} (not authenticated)"),
    ]
    if checked.without:
        rows.append(("not given to the tests", f"{escape(', '.join(checked.without))}: a check has no secrets"))
    return table(("", ""), rows)


def _tests(evidence: Sequence[Evidence]) -> str:
    rows = [
        (escape(item.name), _result(item), show_duration(item.duration_s or 0.0))
        for item in evidence
        if item.kind in ("build", "test")
    ]
    return "## Build and tests\n\n" + table(("step", "", "took"), rows) if rows else ""


def _coverage(evidence: Sequence[Evidence]) -> str:
    rows = [
        (escape(item.name), f"{item.facts.get('covered_percent')} %", f"{item.facts.get('at_least_percent')} %")
        for item in evidence
        if item.kind == "coverage"
    ]
    return "## Coverage\n\n" + table(("report", "covered", "at least"), rows) if rows else ""


def _scans(evidence: Sequence[Evidence]) -> str:
    rows = [
        (escape(item.name), *(escape(str(item.facts.get(name, "no answer"))) for name in _COUNTS))
        for item in evidence
        if item.kind == "scan"
    ]
    if not rows:
        return ""
    told = "\n\nEach finding is in the artifact `scans` of this run. Known: the last release had it, too."
    return "## Scans\n\n" + table(("tool", *_COUNTS), rows) + told


def _result(item: Evidence) -> str:
    return "**failed**" if "error" in item.facts else "done"
