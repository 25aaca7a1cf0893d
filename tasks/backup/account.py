"""What a run of `backup` has done, for people. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.common.backups import Entry
from tasks.common.markdown import escape, table
from tasks.common.units import show_size

HEAD = ("backup", "what became of it", "size", "why")


@dataclass
class Account:
    """What was done, in the order in which it was. Texts are without secrets.

    Args:
        cleaned: what a dead run had left, and was removed.
        rows: backups and what became of them, under `HEAD`.
        taken: whether a new backup is there, whole and in the catalogue.
        remarks: what a reader has to know besides, a sentence or two each.
    """

    cleaned: list[str] = field(default_factory=list)
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    taken: bool = False
    remarks: list[str] = field(default_factory=list)

    def tell(self, entry: Entry, what: str, why: str = "") -> None:
        """It is reported of this backup."""
        self.rows.append((entry.id, what, show_size(entry.stored.stored_bytes), why))


def report(plan: str, account: Account, problem: str) -> str:
    """Return the account as Markdown: how it ended first.

    Args:
        plan: name of the plan.
        account: what was done.
        problem: why the run has failed, without secrets; '' where it has not.
    """
    said = f"**It failed**: {escape(problem)}" if problem else f"It worked; {_counted(account.rows)}."
    parts = [f"# Backup of {escape(plan)}", said]
    if account.cleaned:
        parts.append("Left by a run that has died, and removed:")
        parts.append("\n".join(f"- {escape(each)}" for each in account.cleaned))
    parts += map(escape, account.remarks)
    if account.rows:
        parts.append(table(HEAD, [tuple(map(escape, row)) for row in account.rows]))
    return "\n\n".join(parts) + "\n"


def _counted(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """Return '2 taken, 1 expired'."""
    counts: dict[str, int] = {}
    for _, what, _, _ in rows:
        counts[what] = counts.get(what, 0) + 1
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or "nothing was to do"
