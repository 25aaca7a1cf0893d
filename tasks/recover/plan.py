"""What is brought back, from where and in which order, and the account of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.common.accounts import Done
from tasks.common.backup_plans import BackupPlan
from tasks.common.errors import Refused
from tasks.common.markdown import escape, table
from tasks.common.units import show_duration

OBJECTIVE_S = 7200.0
"""*Source:* DR-1: the full system within 2 h."""


@dataclass(frozen=True)
class Back:
    """What is brought back.

    Args:
        restores: plan and target of each restore, in order.
        release: the release that is deployed.
    """

    restores: tuple[tuple[str, str], ...]
    release: str


@dataclass
class Account:
    """What was done.

    Args:
        what: 'campus in production'.
        steps: in order.
    """

    what: str
    steps: list[Done] = field(default_factory=list)


def restores_of(backups: Mapping[str, BackupPlan], wanted: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return plan and target of each restore: data comes back to where it was taken from.

    Args:
        backups: plans of the estate file, by name.
        wanted: names of plans, in order; none: all that have a target with 'source: true'.

    Raises:
        Refused: a plan is unknown, or has no such target.
    """
    sources = {
        name: target
        for name, plan in sorted(backups.items())
        for target, spec in sorted(plan.targets.items(), reverse=True)
        if spec.source
    }
    missing = [name for name in wanted if name not in sources]
    if missing:
        raise Refused(
            f"it is not said where {', '.join(missing)} comes back to",
            on="the estate file",
            next_action="give each of these plans a target with 'source: true': where it was taken from; known are: "
            f"{', '.join(sources) or 'none'}",
        )
    return tuple((name, sources[name]) for name in (wanted or sources))


def report(account: Account, took_s: float, problem: str) -> str:
    """Return the account as Markdown: the time beside the objective comes first."""
    met = "met" if took_s <= OBJECTIVE_S else "not met"
    said = f"**It failed**: {escape(problem)}" if problem else "**It is back**, and was looked at as a user."
    rows = [[escape(each.what), show_duration(each.took_s), escape(each.said)] for each in account.steps]
    return (
        f"# Recovery of {escape(account.what)}\n\n{said}\n\n"
        f"It took {show_duration(took_s)}; the objective is {show_duration(OBJECTIVE_S)}"
        f"{'' if problem else f': {met}'}.\n\n{table(['Step', 'Took', 'What came of it'], rows)}\n"
    )
