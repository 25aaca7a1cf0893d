"""What a reconciliation reports, as Markdown. Pure."""

from collections.abc import Sequence

from tasks.common.errors import SlipwayError
from tasks.common.markdown import escape, table
from tasks.common.model import Drift

NOTHING = "# Reconciled\n\nNothing is unfinished, and everything is as it was left.\n"
"""The report of a reconciliation that had nothing to do."""


def account_text(done: Sequence[str], drift: Sequence[Drift], problems: Sequence[SlipwayError]) -> str:
    """Return the report: a summary, what was done, what differs, what could not be done."""
    if not done and not drift and not problems:
        return NOTHING
    counts = f"{len(done)} done, {len(drift)} not as they were left, {len(problems)} could not be reconciled."
    parts = ["# Reconciled", counts]
    if problems:
        rows = [(escape(p.on), escape(p.what), escape(p.next_action)) for p in problems]
        parts.append("## A person must look\n\n" + table(("where", "what", "next"), rows))
    if done:
        parts.append("## Done\n\n" + "\n".join(f"- {escape(line)}" for line in done))
    if drift:
        differences = [
            (escape(str(d.where)), escape(d.found), escape(d.expected), escape(d.next_action)) for d in drift
        ]
        parts.append("## Not as it was left\n\n" + table(("where", "found", "expected", "next"), differences))
    return "\n\n".join(parts) + "\n"
