"""What people read about a verification: the summary, then each rung, then how RPO and RTO have gone. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC

from tasks.common.backup_plans import Objectives
from tasks.common.backups import OF_AGE, RESTORE, Rung, RungOutcome, Verification
from tasks.common.errors import Unsafe
from tasks.common.markdown import escape, table
from tasks.common.units import show_duration

HISTORY = 14
"""So many verifications are shown as a trend: two weeks of nights."""
_BAR = 10
_LONGEST = 600


@dataclass(frozen=True)
class Told:
    """What a report is about.

    Args:
        verification: this one.
        objectives: what it is measured against.
        remarks: what a reader has to know besides, one sentence each.
        history: the latest verifications of the plan, newest first; this one may be among them.
    """

    verification: Verification
    objectives: Objectives
    remarks: Sequence[str] = field(default_factory=tuple)
    history: Sequence[Verification] = field(default_factory=tuple)


def verdict(verification: Verification) -> str:
    """Return in one line what has come out: sound or not, and which rung says so."""
    broken = verification.broken
    if verification.unsound:
        worst = next(rung for rung in broken if rung.name not in OF_AGE)
        return f"not sound: {worst.name}: {worst.said}"
    if broken:
        return f"{_restored(verification)}, and too old: {broken[0].name}: {broken[0].said}"
    if verification.sound:
        return "sound: it was restored, and what came back is right"
    return "nothing was restored: it was only read where it lies, which proves no backup"


def failure(found: Verification, said: str) -> Unsafe:
    """Return the error of a run that has found something wrong.

    Args:
        found: what it has found.
        said: the verdict, in one line.
    """
    rungs_said = {rung.name: rung.said for rung in found.broken}
    if found.unsound:
        return Unsafe(
            f"the backup is {said}",
            on=found.entry_id,
            state="it is on record as unsound; nothing is left of the copy, and the source was only read",
            next_action="do not restore from it: 'slipway backups' shows the newest one that was verified; take a new "
            "one now, and verify that",
            facts=rungs_said,
        )
    return Unsafe(
        said,
        on=found.entry_id,
        state="nothing is on record against the backup itself; more would be lost now than the objective allows",
        next_action="see whether backups are taken and WAL arrives in the repository, then verify again",
        facts=rungs_said,
    )


def report(told: Told, redact: Callable[[str], str]) -> str:
    """Return the verification as Markdown; contents of rows are in none of its parts.

    Args:
        told: what it is about.
        redact: takes the secrets out of a text.
    """

    def cell(text: str) -> str:
        return escape(redact(text)[:_LONGEST])

    found = told.verification
    parts = [
        f"# {cell(found.entry_id)}",
        f"**{cell(_capital(verdict(found)))}.**",
        "\n".join(f"- {cell(each)}" for each in (*_measured(told), *told.remarks)),
        table(("rung", "outcome", "took", "said"), [tuple(map(cell, _cells(rung))) for rung in found.rungs]),
        *(_facts(rung, cell) for rung in found.rungs if rung.facts),
        "## Trend",
        table(("ended", "backup", "result", "RPO", "", "RTO", ""), [tuple(map(cell, each)) for each in _trend(told)]),
        "A full bar is the objective; one with a + is beyond it.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _restored(verification: Verification) -> str:
    held = any(rung.name == RESTORE and rung.outcome is RungOutcome.HELD for rung in verification.rungs)
    return "what came back is right" if held else "nothing was restored"


def _measured(told: Told) -> tuple[str, str]:
    found, wanted = told.verification, told.objectives
    return (
        f"RPO {_against(found.rpo_s, wanted.rpo_s)}",
        f"RTO {_against(found.rto_s, wanted.rto_s)}",
    )


def _against(value: float | None, objective: float) -> str:
    wanted = f"the objective is {show_duration(objective)}"
    if value is None:
        return f"not measured; {wanted}"
    return f"{show_duration(value)}; {wanted}{'' if value <= objective else ', which is missed'}"


def _cells(rung: Rung) -> tuple[str, str, str, str]:
    return rung.name, rung.outcome.value, show_duration(rung.took_s), rung.said


def _facts(rung: Rung, cell: Callable[[str], str]) -> str:
    rows = [(cell(name.replace("_", " ")), cell(_shown(value))) for name, value in rung.facts.items()]
    return f"## {cell(_capital(rung.name))}\n\n{table(('fact', 'value'), rows)}"


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _trend(told: Told) -> list[tuple[str, ...]]:
    this, wanted = told.verification, told.objectives
    past = [each for each in told.history if (each.entry_id, each.run_id) != (this.entry_id, this.run_id)]
    return [
        (
            f"{each.ended_at.astimezone(UTC):%Y-%m-%d %H:%M}",
            each.entry_id,
            "sound" if each.sound else "not sound" if each.unsound else "too old" if each.broken else "only read",
            _figure(each.rpo_s),
            bar(each.rpo_s, wanted.rpo_s),
            _figure(each.rto_s),
            bar(each.rto_s, wanted.rto_s),
        )
        for each in [this, *past][:HISTORY]
    ]


def _figure(value: float | None) -> str:
    return "" if value is None else show_duration(value)


def bar(value: float | None, objective: float) -> str:
    """Return a figure as a bar, which is full at the objective."""
    if value is None:
        return ""
    share = value / objective
    filled = min(round(share * _BAR), _BAR)
    return "█" * filled + "░" * (_BAR - filled) + ("+" if share > 1 else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
