"""What people are shown of the upkeep of partitions. Pure."""

from collections.abc import Iterator, Sequence

from tasks.migration.partition_model import Create, Plan
from tasks.migration.upkeep import Outcome


def plan_report(plans: Sequence[Plan]) -> str:
    """Return what would be done, as text: the steps with their statements, then what stands in the way."""
    return "\n".join(_lines(plans)) or "nothing is to be done"


def _lines(plans: Sequence[Plan]) -> Iterator[str]:
    # In the order in which they are carried out: all that is made comes first.
    steps = [each for one in plans for each in one.steps]
    for number, each in enumerate(sorted(steps, key=lambda step: not isinstance(step, Create)), start=1):
        yield f"{number}. {each}"
        yield from (f"   {statement}" for statement in each.statements)
    for one in plans:
        yield from (f"note: {note}" for note in one.notes)
        yield from (f"not done: {each.table}: {each}" for each in one.problems)


def outcome_report(outcome: Outcome) -> str:
    """Return what was done, as Markdown."""
    lines = [f"- {each}" for each in outcome.done] or ["Nothing was to be done."]
    lines += [f"- note: {each}" for each in outcome.notes]
    lines += [f"- **not done**: {each.table}: {each}" for each in outcome.problems]
    return "\n".join(lines)
