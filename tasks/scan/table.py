"""What a person reads about the scans of a release: a summary first, then what is new, known and accepted."""

from collections.abc import Mapping, Sequence

from tasks.common.markdown import escape, table
from tasks.scan.model import Judged, Verdict

_ROWS_AT_MOST = 200
_HEAD = ("", "severity", "tool", "rule", "where", "what")
_ACCEPTED_HEAD = (*_HEAD[1:], "why it may stay", "until")


def scans_text(tools: Sequence[str], verdict: Verdict, failed: Mapping[str, str]) -> str:
    """Return the Markdown of the artifact `scans`.

    Nothing in a finding can change a table or become a link, an image or HTML: files are named by whoever wrote them.

    Args:
        tools: every tool of the service file.
        verdict: what was found by those that answered.
        failed: by tool, why it gave no answer.
    """
    parts = [_summary(tools, verdict, failed)]
    if failed:
        rows = [(escape(tool), escape(why)) for tool, why in failed.items()]
        parts.append("## No answer\n\n" + table(("tool", "why"), rows))
    for title, found in (("New", verdict.new), ("Known from the last release", verdict.known)):
        if found:
            parts.append(f"## {title}\n\n" + _rows(_HEAD, [_row(each) for each in found]))
    if verdict.accepted:
        parts.append("## Accepted\n\n" + _rows(_ACCEPTED_HEAD, [_accepted_row(each) for each in verdict.accepted]))
    return "\n\n".join(parts) + "\n"


def _summary(tools: Sequence[str], verdict: Verdict, failed: Mapping[str, str]) -> str:
    blocking = len(verdict.blocking)
    answer = "The release was **stopped**" if blocking or failed else "Nothing stops the release"
    counts = f"{len(verdict.new)} new, {len(verdict.known)} known, {len(verdict.accepted)} accepted"
    lines = [
        f"{answer}: {len(tools) - len(failed)} of {len(tools)} tools answered, {blocking} findings block ({counts}).",
        f"Tools: {', '.join(map(escape, tools))}.",
    ]
    if not verdict.compared:
        lines.append("There is no former release to compare with, so that every finding is shown as new.")
    if expired := [each for each in verdict.findings if each.expired]:
        lines.append(f"{len(expired)} were accepted until a day that is over: they count again.")
    return "\n".join(lines)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    left = len(rows) - _ROWS_AT_MOST
    more = f"\n\n... and {left} more, none of them more severe than the last row." if left > 0 else ""
    return table(head, rows[:_ROWS_AT_MOST]) + more


def _row(judged: Judged) -> tuple[str, ...]:
    expired = judged.acceptance if judged.expired else None
    note = f" (accepted until {expired.until}, which is over: {expired.reason})" if expired else ""
    return ("**blocks**" if judged.blocks else "", *_finding_cells(judged, note))


def _accepted_row(judged: Judged) -> tuple[str, ...]:
    assert judged.acceptance is not None
    return (*_finding_cells(judged), escape(judged.acceptance.reason), str(judged.acceptance.until))


def _finding_cells(judged: Judged, note: str = "") -> tuple[str, ...]:
    finding = judged.finding
    texts = (finding.severity, finding.tool, finding.rule, where(judged), finding.message + note)
    return tuple(escape(text) or "-" for text in texts)


def where(judged: Judged) -> str:
    """Return the finding's place: file and line, a package, or that there is none."""
    finding = judged.finding
    return f"{finding.path}:{finding.line}" if finding.line else finding.path or "(no file)"
