"""What a person reads about backups: the status of the plans, and which backups stay. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.backup.retention import Decision
from tasks.backup.status import PlanStatus
from tasks.common.backups import Entry
from tasks.common.markdown import escape, table
from tasks.common.units import show_age, show_duration, show_size

HEAD = ("plan", "newest", "newest verified", "RPO", "RTO", "size")
"""As few as a terminal of 80 columns shows without cutting words."""
PLAN_HEAD = ("backup", "ended", "kind", "size", "verified", "", "why")


def cells(status: PlanStatus, now: datetime) -> tuple[str, ...]:
    """Return a plan as a row under `HEAD`; ages with what comes next, figures with their objectives."""
    newest, growth, at = status.newest, status.growth_bytes_a_day, status.verified_at
    proven = () if at is None else (f"proven {show_age((now - at).total_seconds())} ago",)
    return (
        status.plan,
        "; ".join((_age(newest, now), _ahead(status.next_backup_at, now))),
        "; ".join((_age(status.newest_verified, now), *proven, _ahead(status.next_verification_at, now))),
        _against(status.rpo_s, status.rpo_objective_s),
        _against(status.rto_s, status.rto_objective_s),
        "; ".join(filter(None, (show_size(newest.stored.size_bytes) if newest else "", _growth(growth)))),
    )


def plan_cells(decision: Decision) -> tuple[str, ...]:
    """Return a backup as a row under `PLAN_HEAD`."""
    entry = decision.entry
    return (
        entry.id,
        f"{entry.stored.ended_at.astimezone(UTC):%Y-%m-%d %H:%M}",
        entry.stored.kind.value,
        show_size(entry.stored.stored_bytes),
        f"{entry.verified_at.astimezone(UTC):%Y-%m-%d}" if entry.verified_at else "",
        "keep" if decision.keep else "drop",
        decision.reason,
    )


def report(statuses: Sequence[PlanStatus], now: datetime) -> str:
    """Return the status as Markdown: what is wrong first, then the figures.

    Args:
        statuses: of each plan; what they say is without secrets.
        now: the time, aware.
    """
    wrong = [each for each in statuses if each.problems]
    said = f"all {len(statuses)} plans are well" if statuses else "**the estate names no plan**"
    if wrong:
        said = f"**{len(wrong)} of {len(statuses)} plans need somebody**"
    listed = [f"- **{escape(each.plan)}**: {escape(problem)}" for each in wrong for problem in each.problems]
    rows = [tuple(map(escape, cells(each, now))) for each in statuses]
    parts = [f"# Backups\n\nAt {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC {said}.", "\n".join(listed), table(HEAD, rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _age(entry: Entry | None, now: datetime) -> str:
    return "none" if entry is None else f"{show_age((now - entry.stored.ended_at).total_seconds())} old"


def _ahead(at: datetime | None, now: datetime) -> str:
    return "next by hand" if at is None else f"next in {show_age((at - now).total_seconds())}"


def _growth(bytes_a_day: float | None) -> str:
    return "" if bytes_a_day is None else f"{'+' if bytes_a_day >= 0 else ''}{show_size(bytes_a_day)} a day"


def _against(value: float | None, objective: float) -> str:
    wanted = show_duration(objective)
    return f"not measured; wanted {wanted}" if value is None else f"{show_duration(value)} of {wanted}"
