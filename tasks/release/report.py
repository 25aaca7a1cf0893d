"""What a person reads about a run: a summary first, then tables. Made from the ledger alone, and so at any time."""

import textwrap
from collections.abc import Sequence
from datetime import datetime

from tasks.common.markdown import escape, table
from tasks.common.units import show_duration, show_percent
from tasks.release.checklist import State, checklist
from tasks.release.model import Evidence, Outcome, ReleaseRecord

_HEADLINE = {
    Outcome.RUNNING: "is running",
    Outcome.SUCCEEDED: "**succeeded**",
    Outcome.FAILED: "**failed**; {environment} was not changed",
    Outcome.ROLLED_BACK: "was **rolled back**; the former release serves {environment}",
    Outcome.UNSAFE: "needs a **person now**: the state of {environment} is not known to be good",
    Outcome.INTERRUPTED: "was **interrupted** before its end, and has handed {environment} over: see why below",
}
_SLOWEST = 10
_WIDTH = 110
_LONGEST_CELL = 300
_STATE = {
    State.DONE: "done",
    State.FAILED: "**failed**",
    State.OPEN: "**open**",
    State.NOT_APPLICABLE: "not applicable",
}


def summary(record: ReleaseRecord, evidence: Sequence[Evidence]) -> str:
    """Return the run as Markdown: what happened and why, the checklists, who and what let it pass, the tables."""
    headline = _HEADLINE[record.outcome].format(environment=record.environment)
    parts = [
        f"# {record.service} {record.commit[:7]} to {record.environment}",
        f"The {record.kind} {headline}. _{escape(record.subject)}_",
        _untold(evidence),
        _facts(record),
    ]
    if record.error:
        parts.append(f"## Why\n\n```text\n{wrapped(record.error)}\n```")
    parts += [_checklists(record, evidence), _gates(evidence), _approvals(evidence), _notifications(evidence)]
    parts += [_stages(evidence), _verdicts(evidence), _work(evidence)]
    return "\n\n".join(part for part in parts if part) + "\n"


def results(record: ReleaseRecord, evidence: Sequence[Evidence]) -> str:
    """Return what a run has shown so far, as a list for the narrow form in which a person says whether it may go on."""
    lines = [
        f"- {_STATE[item.state]}: {item.text}{f' ({escape(_cut(item.fact))})' if item.fact else ''}"
        for section in checklist(record, evidence)[:1]
        for item in section.items
    ]
    gates = [item for item in evidence if item.kind == "gate"]
    lines += [f"- {'done' if g.facts.get('open') is True else '**closed**'}: gate '{escape(g.name)}'" for g in gates]
    return "\n".join(lines)


def _facts(record: ReleaseRecord) -> str:
    ended = record.ended_at
    took = show_duration((ended - record.started_at).total_seconds()) if ended else "not ended"
    rows = [
        ("commit", record.commit),
        ("artefact", record.digest or "none"),
        ("strategy", record.strategy),
        ("asked for by", f"{escape(record.requested_by)} (not authenticated)"),
        ("started", _time(record.started_at)),
        ("took", took),
        ("run", record.id),
    ]
    return table(("", ""), rows)


def _untold(evidence: Sequence[Evidence]) -> str:
    """Return the warning that somebody does not know of this run."""
    failed = [item for item in evidence if item.kind == "notification" and item.facts.get("sent") is not True]
    told = "; ".join(f"{item.name}: {escape(str(item.facts.get('reason', '')))}" for item in failed)
    return f"**Not everybody was told.** {told}" if failed else ""


def _checklists(record: ReleaseRecord, evidence: Sequence[Evidence]) -> str:
    rows = [
        (section.name, item.text, _STATE[item.state], escape(_cut(item.fact)))
        for section in checklist(record, evidence)
        for item in section.items
    ]
    return "## Checklist\n\n" + table(("when", "what", "state", "by which fact"), rows)


def _gates(evidence: Sequence[Evidence]) -> str:
    """Return the gates, closed ones first; of a gate that was asked several times, the last answer of each phase."""
    last = {(item.facts.get("phase"), item.name): item for item in evidence if item.kind == "gate"}
    rows = [
        (
            escape(item.name),
            "open" if item.facts.get("open") is True else "**closed**",
            *(_cell(item.facts.get(key)) for key in ("figure", "bound", "source", "why")),
        )
        for item in sorted(last.values(), key=lambda each: each.facts.get("open") is True)
    ]
    return "## Gates\n\n" + table(("gate", "", "figure", "bound", "source", "why"), rows) if rows else ""


def _approvals(evidence: Sequence[Evidence]) -> str:
    rows = [
        (
            escape(item.name),
            _cell(item.facts.get("decision")),
            f"{_cell(item.facts.get('by'))} (not authenticated)",
            _cell(item.facts.get("reason")),
            _time(item.at),
        )
        for item in evidence
        if item.kind == "approval"
    ]
    return "## Approvals\n\n" + table(("before", "decision", "by", "reason", "at"), rows) if rows else ""


def _notifications(evidence: Sequence[Evidence]) -> str:
    rows = [
        (
            escape(item.name),
            _cell(item.facts.get("occasion")),
            "sent" if item.facts.get("sent") is True else "**not sent**",
            _cell(item.facts.get("tries")),
            _cell(item.facts.get("reason")),
        )
        for item in evidence
        if item.kind == "notification"
    ]
    return "## Notifications\n\n" + table(("channel", "about", "", "tries", "why"), rows) if rows else ""


def _cell(value: object) -> str:
    return "" if value is None else escape(_cut(str(value)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else text[:_LONGEST_CELL] + "…"


def _stages(evidence: Sequence[Evidence]) -> str:
    rows = []
    for item in evidence:
        if item.kind == "stage":
            share = show_percent(_number(item.facts.get("weight_percent")))
            rows.append((str(item.facts.get("environment", "")), item.name, share, _time(item.at)))
        elif item.kind == "roll-back":
            rows.append((item.name, f"**roll back** to {str(item.facts.get('to', ''))[:7]}", "", _time(item.at)))
    return "## Stages\n\n" + table(("environment", "reached", "candidate's share", "at"), rows) if rows else ""


def _verdicts(evidence: Sequence[Evidence]) -> str:
    """Return the last verdict of each watch: the one that decided."""
    last: dict[tuple[str, str], Evidence] = {}
    for item in evidence:
        if item.kind == "verdict":
            last[str(item.facts.get("environment", "")), item.name] = item
    rows = []
    for (environment, name), item in last.items():
        reasons = item.facts.get("reasons", [])
        text = "; ".join(map(str, reasons)) if isinstance(reasons, list) else str(reasons)
        rows.append((environment, name, f"**{item.facts.get('decision')}**", escape(text)))
    return "## Verdicts\n\n" + table(("environment", "watched", "verdict", "reasons"), rows) if rows else ""


def _work(evidence: Sequence[Evidence]) -> str:
    timed = sorted((e for e in evidence if e.duration_s is not None), key=lambda e: -(e.duration_s or 0))[:_SLOWEST]
    rows = [
        (
            item.kind,
            escape(item.name),
            show_duration(item.duration_s or 0),
            "failed" if "error" in item.facts else "done",
        )
        for item in timed
    ]
    return "## Where the time went\n\n" + table(("step", "what", "took", ""), rows) if rows else ""


def wrapped(block: str) -> str:
    """Return an error block with its long lines broken, the rest of each indented under its text."""
    lines = []
    for line in block.splitlines():
        indent = " " * min(16, len(line) - len(line.lstrip()) + 4)
        lines += textwrap.wrap(line, _WIDTH, subsequent_indent=indent, break_long_words=False) or [""]
    return "\n".join(lines)


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
