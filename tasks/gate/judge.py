"""Whether a gate is open. Only a good figure opens one: no answer, no number and an old one keep it closed."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from tasks.common.gates import Gate
from tasks.common.markdown import escape, table
from tasks.common.model import Unit, show_quantity
from tasks.gate.model import Reading, Verdict

FRESH_FOR_S = 60.0
"""A reading that is older says nothing about now: a run may have been suspended for hours since."""
_AHEAD_S = 5.0
_WIDEST = 120


def judge(gate: Gate, reading: Reading, now: datetime) -> Verdict:
    """Return the verdict of one gate: open only where a fresh, finite figure was read and nothing speaks against it.

    Args:
        gate: the rule.
        reading: what was read for it.
        now: aware; readings older than a minute, or from the future, do not count.

    *Source:* house rule 9; requirements, REL-11.
    """
    figure = reading.figure if reading.figure is not None and math.isfinite(reading.figure) else None
    bound = reading.bound or gate.bound_words()
    closed = _against(gate, reading, figure, bound, now)
    if closed:
        return Verdict(gate.name, False, figure, bound, reading.source, closed, reading.mend or _advice(gate))
    return Verdict(gate.name, True, figure, bound, reading.source, _shown(gate, figure, bound))


def _against(gate: Gate, reading: Reading, figure: float | None, bound: str, now: datetime) -> str:
    """Return why the gate is closed; empty where nothing speaks against it."""
    if reading.problem:
        return reading.problem
    if figure is None:
        return "there is no figure" if reading.figure is None else f"the figure is {reading.figure}, which is none"
    age = now - reading.at
    if not timedelta(seconds=-_AHEAD_S) <= age <= timedelta(seconds=FRESH_FOR_S):
        return f"the figure was read at {reading.at.isoformat(timespec='seconds')}, which is not now"
    if gate.has_bound and not gate.holds(figure):
        return f"{show_quantity(figure, gate.unit or Unit.COUNT)} is not {bound}"
    return ""


def _shown(gate: Gate, figure: float | None, bound: str) -> str:
    if not gate.has_bound or figure is None:
        return bound
    return f"{show_quantity(figure, gate.unit or Unit.COUNT)}, {bound} wanted"


def _advice(gate: Gate) -> str:
    if gate.recorded is not None:
        return "release the commit again: what is missing is done and recorded then"
    return "look at its source, mend what it shows, and start this again; waiting opens no gate"


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table, closed gates first."""
    rows = []
    for each in sorted(verdicts, key=lambda verdict: verdict.open):
        state = "open" if each.open else "**closed**"
        rows.append(
            (escape(each.name), state, *map(escape, (_figure(each), each.bound, _short(each.source), each.why)))
        )
    return table(("gate", "", "figure", "bound", "source", "why"), rows)


def closed_facts(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Return what an operator is told of each closed gate, by its name."""
    return {
        each.name: f"{each.why}\nfigure: {_figure(each)}, bound: {each.bound}\n"
        f"source: {_short(each.source)}\ndo: {each.mend}"
        for each in verdicts
        if not each.open
    }


def _figure(verdict: Verdict) -> str:
    return "none" if verdict.figure is None else f"{verdict.figure:.12g}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDEST else line[:_WIDEST] + " ..."
