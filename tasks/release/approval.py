"""What a person is asked before a release goes on, and what the answers on record mean. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tasks.common.markdown import escape, table
from tasks.common.service import Approval
from tasks.common.units import show_duration, show_percent
from tasks.release.model import Commit, Evidence, ReleaseRecord

START = "start"
"""The place before anything is touched in the last environment."""
_COMMITS_SHOWN = 20
_DIGITS, _FINEST = 3, 0.001
"""What weights are rounded to, in per cent, and the least one: a share is asked about also where it was rounded."""


class Answer(StrEnum):
    """What a person says."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True)
class Question:
    """What was asked: before what, and until when an answer counts."""

    before: str
    expires_at: datetime


def wanted_before(
    approval: Approval | None, always: bool, stage_weight: float | None, present_weight: float = 0.0
) -> bool:
    """Return whether a person is asked before the start (`stage_weight` None) or before a share of the traffic.

    A stage that jumps over a share is asked about as well: a first release goes to everybody at once.

    Args:
        approval: what the service file says.
        always: the environment asks before every start.
        stage_weight: the share that the candidate would get next, in per cent.
        present_weight: the share that it has.
    """
    if stage_weight is None:
        return always or (approval is not None and START in approval.before)
    shares = [share for share in approval.before if not isinstance(share, str)] if approval is not None else []
    in_steps = [max(round(share, _DIGITS), _FINEST) for share in shares]
    return any(round(present_weight, _DIGITS) < share <= round(stage_weight, _DIGITS) for share in in_steps)


def asked(evidence: Sequence[Evidence], before: str) -> Question | None:
    """Return the question that this run has put on record; None if it has not asked yet."""
    for item in evidence:
        if (item.kind, item.name) == ("approval-asked", before):
            return Question(before, datetime.fromisoformat(str(item.facts["expires_at"])))
    return None


def unanswered(evidence: Sequence[Evidence]) -> Question | None:
    """Return the question that is open: asked last, and not answered."""
    answered = {item.name for item in evidence if item.kind == "approval"}
    names = [item.name for item in evidence if item.kind == "approval-asked" and item.name not in answered]
    return asked(evidence, names[-1]) if names else None


def approved(evidence: Sequence[Evidence], before: str) -> bool:
    """Return whether a person has said yes."""
    return any(
        (item.kind, item.name, item.facts.get("decision")) == ("approval", before, Answer.APPROVE) for item in evidence
    )


def question(
    record: ReleaseRecord,
    before: str,
    expires_in_s: float,
    commits: Sequence[Commit],
    stable: str | None,
    results: str,
    plan: Sequence[str],
) -> str:
    """Return the text of the form, as Markdown: version, commits, results, plan, risk.

    Args:
        record: the release.
        before: 'start', or the share of the traffic that it would get.
        expires_in_s: how long an answer is waited for.
        commits: those since the stable release, newest first.
        stable: the release that serves now; None if none does.
        results: tests, scans, gates and staging, as Markdown.
        plan: the steps that a yes leads to.
    """
    wish = "go to" if before == START else f"get {before} of the traffic of"
    parts = [
        f"## May {record.service} {record.commit[:7]} {wish} {record.environment}?",
        f"_{escape(record.subject)}_, asked for by {escape(record.requested_by)} (not authenticated).",
        f"Without an answer within {show_duration(expires_in_s)} this is a **no**, and what is out is rolled back. "
        "This server cannot prove who answers: whoever can open this page can.",
        f"### Risk\n\n{_risk(record, commits, stable)}",
        f"### Commits since {stable[:7] if stable else 'the beginning'}\n\n{_commits(commits)}",
        f"### Results so far\n\n{results}",
        "### What a yes leads to\n\n" + "\n".join(f"{n}. {escape(step)}" for n, step in enumerate(plan, start=1)),
    ]
    return "\n\n".join(parts) + "\n"


def where(weight_percent: float | None) -> str:
    """Return the name of the place before which a person is asked."""
    return START if weight_percent is None else show_percent(weight_percent)


def _risk(record: ReleaseRecord, commits: Sequence[Commit], stable: str | None) -> str:
    """Return what is known about the risk, as facts: a number made up from them would only look exact."""
    authors = sorted({commit.author for commit in commits if commit.author})
    rows = [
        ("commits", str(len(commits)) + (" or more" if len(commits) >= _COMMITS_SHOWN else "")),
        ("authors", escape(", ".join(authors)) or "unknown"),
        ("strategy", record.strategy),
        ("way back", f"{stable[:7]}, without a rebuild" if stable else "**none**: nothing serves there yet"),
    ]
    return table(("", ""), rows)


def _commits(commits: Sequence[Commit]) -> str:
    if not commits:
        return "None: the same commit serves already, or history does not connect the two."
    rows = [(c.short, escape(c.subject), escape(c.author)) for c in commits[:_COMMITS_SHOWN]]
    return table(("commit", "subject", "author"), rows)
