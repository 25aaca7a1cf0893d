"""What people are shown of migrations: a plan, where each one stands, how far a backfill is. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.common.migrations import PHASES, MigrationState, Phase
from tasks.migration.catalogue import Observed
from tasks.migration.conduct import Progress
from tasks.migration.declared import for_database
from tasks.migration.files import Written
from tasks.migration.model import Compiled
from tasks.migration.plan import Action


@dataclass(frozen=True)
class Line:
    """One migration of a status.

    Args:
        name: of the migration.
        state: in words.
        done: the last phase that is complete, or ''.
        description: of its file.
        problem: why it has failed; ''.
    """

    name: str
    state: str
    done: str
    description: str
    problem: str = ""


def status(observed: Observed, written: Sequence[Written]) -> tuple[Line, ...]:
    """Return where each migration stands that was written or begun, in the order of names."""
    found = {}
    for each in written:
        found[each.name] = Line(each.name, MigrationState.PENDING, "", each.file.description)
    for attempt in observed.attempts:
        name = attempt.standing.name
        described = found[name].description if name in found else "not in the folder"
        found[name] = Line(name, attempt.standing.state, attempt.standing.done or "", described, attempt.problem)
    return tuple(found[name] for name in sorted(found))


def status_report(observed: Observed, written: Sequence[Written]) -> str:
    """Return the status as Markdown, with a diagram of the phases."""
    lines = ["| migration | state | " + " | ".join(PHASES) + " |", "| --- | --- |" + " --- |" * len(PHASES)]
    for each in status(observed, written):
        attempt = observed.attempt(each.name)
        marks = ["done" if attempt is not None and attempt.standing.has_done(phase) else "-" for phase in PHASES]
        lines.append(f"| {each.name} | {each.state} | " + " | ".join(marks) + " |")
    return "\n".join(lines)


def plan_report(actions: Sequence[Action]) -> str:
    """Return a plan as text, a numbered line each."""
    return "\n".join(f"{number}. {each}" for number, each in enumerate(actions, start=1)) or "nothing is to be done"


def warnings(observed: Observed, written: Sequence[Written], through: Phase) -> tuple[str, ...]:
    """Return what a person should know before it begins."""
    told: list[str] = []
    waits_for: list[str] = []
    for each in written:
        attempt = observed.attempt(each.name)
        if attempt is not None and attempt.standing.has_done(through):
            continue
        found = for_database(each, observed, waits_for)
        compiled, told = found.compiled, [*told, *found.notes]
        waits_for.append(each.name)
        for phase, step in compiled.not_undoable():
            told.append(f"{each.name}: nothing takes back, in {phase}: {step.what}")
        begins = compiled.no_return
        if begins is not None and PHASES.index(begins) <= PHASES.index(through):
            told.append(f"{each.name}: with {begins} it passes its point of no return")
    for one in observed.long:
        told.append(f"a transaction is open for {one.seconds:.0f} s ({one.who}, process {one.pid}): index builds wait")
    if observed.disk_free_bytes is None:
        told.append("nobody can tell how much room the server's disk has: name 'data_folder', or look yourself")
    return tuple(told)


def progress_text(progress: Progress) -> str:
    """Return how far a backfill is, in one line."""
    left = progress.left_s
    eta = "" if left is None or progress.finished else f", about {left:.0f} s left"
    return (
        f"{progress.at}: {progress.over} of about {progress.rows} rows, {progress.changed} changed, "
        f"{progress.rows_per_s:.0f} rows/s, batches of {progress.size}{eta}"
    )


def declared(written: Written) -> str:
    """Return the operations of a migration as text; the steps that they come to are known in a database only."""
    lines = [f"{written.name}: {written.file.description}", "", f"clients of the new shape name {written.version}"]
    for number, each in enumerate(written.operations, start=1):
        keys = each.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"operation"})
        told = ", ".join(f"{key}: {value}" for key, value in keys.items())
        lines.append(f"  {number}. {each.operation}: {told}")
    return "\n".join(lines)


def explained(compiled: Compiled, description: str) -> str:
    """Return what a migration does in each phase, and how that is taken back, as text."""
    lines = [f"{compiled.name}: {description}"]
    for phase in PHASES:
        steps = compiled.steps(phase)
        undone = "" if compiled.can_undo(phase) else " (past the point of no return)"
        lines += ["", f"{phase}{undone}:" if steps else f"{phase}: nothing"]
        for number, step in enumerate(steps, start=1):
            lines.append(f"  {number}. {step.kind}: {step.what or step.kind}")
            lines += [f"       {' '.join(each.split())}" for each in getattr(step, "statements", ())]
            if step.undo is None:
                lines.append("     nothing takes this back")
            lines += [f"     taken back by {each.kind}: {each.what or each.kind}" for each in step.undo or ()]
    return "\n".join(lines)
