"""What the results of expectations mean for a backup, and how people read them. Pure."""

from collections.abc import Sequence

from tasks.common.backups import Rung, RungOutcome
from tasks.common.markdown import escape, table
from tasks.common.units import show_duration
from tasks.expectations.model import Checked, Found, Report

NAME = "expectations"
_MOST_NAMED = 3
_BROKEN_FIRST = (Found.NOT_EVALUATED, Found.FAILED, Found.HELD)


def judge(report: Report) -> Rung:
    """Return the rung of the ladder: broken where a critical one failed, one was not evaluated, or none was there."""
    checked = report.checked
    broken = [each for each in checked if breaks(each)]
    warned = [each for each in checked if each.found is Found.FAILED and not each.critical]
    facts = {
        "expectations": len(checked),
        "failed": sum(each.found is Found.FAILED for each in checked),
        "not_evaluated": sum(each.found is Found.NOT_EVALUATED for each in checked),
        "warnings": len(warned),
        "unexpected_rows": sum(each.unexpected or 0 for each in checked),
        "memory_bytes": report.memory_bytes,
    }
    outcome = RungOutcome.BROKEN if broken or not checked else RungOutcome.HELD
    return Rung(NAME, outcome, _said(checked, broken, warned), report.took_s, facts)


def breaks(checked: Checked) -> bool:
    """Return whether this alone fails a verification."""
    return checked.found is Found.NOT_EVALUATED or (checked.found is Found.FAILED and checked.critical)


def _said(checked: Sequence[Checked], broken: Sequence[Checked], warned: Sequence[Checked]) -> str:
    if not checked:
        return "no expectation was evaluated, which proves nothing"
    tables = len({each.table for each in checked})
    looked = f"{len(checked)} {_plural('expectation', len(checked))} of {tables} {_plural('table', tables)}"
    also = f"; {len(warned)} with a warning" if warned else ""
    if not broken:
        return f"{looked} held{also}" if not warned else f"{len(checked) - len(warned)} of {looked} held{also}"
    named = "; ".join(_in_words(each) for each in broken[:_MOST_NAMED])
    more = f"; and {len(broken) - _MOST_NAMED} more" if len(broken) > _MOST_NAMED else ""
    return f"{len(broken)} of {looked} did not hold{also}: {named}{more}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"


def _in_words(checked: Checked) -> str:
    what = checked.type.removeprefix("expect_").replace("_", " ")
    about = f"{checked.table}.{checked.about}" if checked.about else checked.table
    return f"{about}: {what} ({_finding(checked)})"


def _finding(checked: Checked) -> str:
    if checked.found is Found.NOT_EVALUATED:
        return checked.problem
    parts = [f"found {checked.observed}"] if checked.observed else []
    if checked.unexpected:
        parts.append(f"{checked.unexpected} {_plural('row', checked.unexpected)}")
    return ", ".join(parts) or str(checked.found)


def artifact(report: Report, rung: Rung) -> str:
    """Return the Markdown that people read: the summary, then what did not hold, then the rest."""
    order = sorted(report.checked, key=lambda each: (not breaks(each), _BROKEN_FIRST.index(each.found)))
    head = ("result", "table", "expectation", "found", "rows", "keys of the first rows", "why")
    text = [
        f"**{'Broken' if rung.outcome is RungOutcome.BROKEN else 'Held'}**: {escape(rung.said)}.",
        f"Great Expectations {escape(report.version)}, {show_duration(report.took_s)}, "
        f"{report.memory_bytes >> 20} MiB. Rows are named by their keys; nothing else of them is kept.",
        table(head, [_row(each) for each in order]),
    ]
    return "\n\n".join(text) + "\n"


def _row(checked: Checked) -> tuple[str, ...]:
    result = str(checked.found) if checked.critical or checked.found is not Found.FAILED else "warning"
    about = f"{checked.type} {checked.about}".strip()
    return (
        result,
        escape(checked.table),
        escape(about),
        escape(checked.problem or checked.observed),
        "" if checked.unexpected is None else str(checked.unexpected),
        escape(", ".join(checked.keys)),
        escape(checked.why),
    )
