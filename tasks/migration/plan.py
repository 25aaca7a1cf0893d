"""What is done next: from what a database's history says, and from what is wanted. Pure.

A plan is made anew after every crash from what is on record then. What was committed is not planned again.
"""

from dataclasses import dataclass

from tasks.common.migrations import PHASES, MigrationState, Phase, up_to
from tasks.migration.catalogue import Attempt, StepDone
from tasks.migration.model import Backfill, Compiled, Ddl, Step
from tasks.migration.ports import Spot


def _with_statements(before: str, step: Step) -> str:
    lines = [f"{before}{step.what or step.kind}"]
    if isinstance(step, Ddl):
        lines += [f"    {' '.join(each.split())}" for each in step.statements]
    return "\n".join(lines)


@dataclass(frozen=True)
class Begin:
    """The migration goes on record as under way."""

    compiled: Compiled

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.compiled.name}: put on record what will be done"


@dataclass(frozen=True)
class Run:
    """One step is done."""

    at: Spot
    step: Step

    def __str__(self) -> str:
        """Return it in words, with its statements."""
        return _with_statements(f"{self.at}: ", self.step)


@dataclass(frozen=True)
class Fill:
    """A backfill is done, batch by batch."""

    at: Spot
    step: Backfill

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.at}: {self.step.what or self.step.kind}, in batches of {self.step.batch} rows at first"


@dataclass(frozen=True)
class EndPhase:
    """A phase is complete on record; then it settles."""

    name: str
    phase: Phase
    settle_s: float

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.name}, {self.phase}: done; settle for {self.settle_s:g} s"


@dataclass(frozen=True)
class BeginUndo:
    """It goes on record that the migration is being undone."""

    name: str
    keep: Phase | None

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.name}: put on record that it is being undone"


@dataclass(frozen=True)
class TakeBack:
    """One step of an undo is done."""

    at: Spot
    position: int
    step: Step

    def __str__(self) -> str:
        """Return it in words, with its statements."""
        return _with_statements(f"{self.at}: take back: ", self.step)


@dataclass(frozen=True)
class EndUndo:
    """All that was to be taken back is."""

    name: str
    keep: Phase | None

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.name}: undone" + (f", but for what {self.keep} and before it have done" if self.keep else "")


Action = Begin | Run | Fill | EndPhase | BeginUndo | TakeBack | EndUndo


def plan_apply(attempt: Attempt | None, compiled: Compiled, through: Phase) -> tuple[Action, ...]:
    """Return what brings a migration through a phase; () where it is there.

    Args:
        attempt: what its history says; None where there is none.
        compiled: what will be done if there is none; else what is on record counts.
        through: the last phase that is wanted.
    """
    if attempt is not None and attempt.standing.has_done(through):
        return ()
    todo: list[Action] = []
    what = attempt.compiled if attempt is not None else compiled
    if attempt is None or attempt.standing.state is MigrationState.FAILED:
        todo.append(Begin(what))
    for phase in up_to(through):
        if attempt is not None and attempt.standing.has_done(phase):
            continue
        for number, step in enumerate(what.steps(phase)):
            done = attempt.step(phase, number) if attempt is not None else None
            if done is None or done.state != "done":
                at = Spot(what.name, phase, number)
                todo.append(Fill(at, step) if isinstance(step, Backfill) else Run(at, step))
        todo.append(EndPhase(what.name, phase, what.limits.settle_s if what.steps(phase) else 0.0))
    return tuple(todo)


def plan_undo(attempt: Attempt | None, keep: Phase | None = None) -> tuple[Action, ...]:
    """Return what takes a migration back; () where there is nothing of it.

    Args:
        attempt: what its history says.
        keep: the last phase that stays; None for none. An undo that was interrupted keeps what it was to keep.
    """
    if attempt is None:
        return ()
    name, keep = attempt.standing.name, kept_by(attempt, keep)
    todo: list[Action] = [BeginUndo(name, keep)]
    for done in sorted(attempt.steps, key=_place, reverse=True):
        if keep is not None and PHASES.index(done.phase) <= PHASES.index(keep):
            continue
        steps = attempt.compiled.steps(done.phase)
        undo = steps[done.number].undo if done.number < len(steps) else None
        at = Spot(name, done.phase, done.number)
        todo += [TakeBack(at, n, step) for n, step in enumerate(undo or ()) if n >= done.undone]
    return (*todo, EndUndo(name, keep))


def kept_by(attempt: Attempt, keep: Phase | None) -> Phase | None:
    """Return the last phase that an undo keeps: what is on record, where one was interrupted; else what is wanted."""
    return attempt.standing.done if attempt.standing.state is MigrationState.UNDOING else keep


def not_taken_back(attempt: Attempt, keep: Phase | None = None) -> tuple[Step, ...]:
    """Return the steps that were done and that an undo leaves as they are, since nothing takes them back."""
    found, keep = [], kept_by(attempt, keep)
    for done in attempt.steps:
        steps = attempt.compiled.steps(done.phase)
        kept = keep is not None and PHASES.index(done.phase) <= PHASES.index(keep)
        if not kept and done.number < len(steps) and steps[done.number].undo is None:
            found.append(steps[done.number])
    return tuple(found)


def _place(done: StepDone) -> tuple[int, int]:
    return PHASES.index(done.phase), done.number
