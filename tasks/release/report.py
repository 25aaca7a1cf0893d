"""What a person reads about a run: a summary first, then tables. Made from the ledger alone, and so at any time."""

import textwrap
from collections.abc import Sequence
from datetime import datetime

from tasks.common.units import show_duration, show_percent
from tasks.release.model import Evidence, Outcome, ReleaseRecord

_HEADLINE = {
    Outcome.RUNNING: "is running",
    Outcome.SUCCEEDED: "**succeeded**",
    Outcome.FAILED: "**failed**; {environment} was not changed",
    Outcome.ROLLED_BACK: "was **rolled back**; the former release serves {environment}",
    Outcome.UNSAFE: "needs a **person now**: the state of {environment} is not known to be good",
}
_SLOWEST = 10
_WIDTH = 110


def summary(record: ReleaseRecord, evidence: Sequence[Evidence]) -> str:
    """Return the run as Markdown: what happened, the error block, stages and verdicts, steps by time."""
    headline = _HEADLINE[record.outcome].format(environment=record.environment)
    parts = [
        f"# {record.service} {record.commit[:7]} to {record.environment}",
        f"The {record.kind} {headline}. _{escape(record.subject)}_",
        _facts(record),
    ]
    if record.error:
        parts.append(f"## Why\n\n```text\n{_wrapped(record.error)}\n```")
    parts += [_stages(evidence), _verdicts(evidence), _work(evidence)]
    return "\n\n".join(part for part in parts if part) + "\n"


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
    return _table(("", ""), rows)


def _stages(evidence: Sequence[Evidence]) -> str:
    rows = []
    for item in evidence:
        if item.kind == "stage":
            share = show_percent(_number(item.facts.get("weight_percent")))
            rows.append((str(item.facts.get("environment", "")), item.name, share, _time(item.at)))
        elif item.kind == "roll-back":
            rows.append((item.name, f"**roll back** to {str(item.facts.get('to', ''))[:7]}", "", _time(item.at)))
    return "## Stages\n\n" + _table(("environment", "reached", "candidate's share", "at"), rows) if rows else ""


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
    return "## Verdicts\n\n" + _table(("environment", "watched", "verdict", "reasons"), rows) if rows else ""


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
    return "## Where the time went\n\n" + _table(("step", "what", "took", ""), rows) if rows else ""


def _wrapped(block: str) -> str:
    """Return an error block with its long lines broken, the rest of each indented under its text."""
    lines = []
    for line in block.splitlines():
        indent = " " * min(16, len(line) - len(line.lstrip()) + 4)
        lines += textwrap.wrap(line, _WIDTH, subsequent_indent=indent, break_long_words=False) or [""]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Return the text as it may stand in a Markdown table's cell."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
