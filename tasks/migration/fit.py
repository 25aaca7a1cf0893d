"""Whether a database is as the code of a commit needs it: expanded, filled and validated, and nothing gone. Pure."""

from collections.abc import Sequence

from tasks.common.migrations import MigrationState, Phase
from tasks.migration.catalogue import Attempt, Observed
from tasks.migration.contract import Unmet, contracted
from tasks.migration.files import Written


def unready(observed: Observed, written: Sequence[Written], apply: str) -> tuple[Unmet, ...]:
    """Return the migrations of a commit that are not through validate, and where each stands; () where all are.

    One whose cleanup has failed, or goes on, is: its new shape is there.

    Args:
        observed: the database.
        written: the migrations of the commit.
        apply: command that brings them through validate.
    """
    found = []
    for each in written:
        attempt = observed.attempt(each.name)
        state, action = _standing(attempt, each, apply)
        if state:
            found.append(Unmet(each.name, state, action))
    return tuple(found)


def _standing(attempt: Attempt | None, written: Written, apply: str) -> tuple[str, str]:
    """Return what stands against a migration, and what to do; '' where nothing does."""
    if attempt is None:
        return "nothing of it is done", apply
    standing = attempt.standing
    if attempt.compiled.checksum != written.checksum:
        return "it was edited after it was begun", "restore its files as they were, and write another migration"
    if standing.state is MigrationState.UNDOING:
        return "it is being undone", f"slipway migration undo {standing.name}; then: {apply}"
    if standing.has_done(Phase.VALIDATE):
        return "", ""
    done = f"through {standing.done}" if standing.done is not None else "begun"
    failed = f", and has failed: {attempt.problem}" if standing.state is MigrationState.FAILED else ""
    return done + failed, apply


def left_behind(observed: Observed, names: Sequence[str]) -> tuple[Unmet, ...]:
    """Return the migrations that have removed what a commit without them needs.

    Args:
        observed: the database.
        names: of the migrations that the commit has.
    """
    action = "release a commit that has it: there is no way back behind it"
    return tuple(
        Unmet(name, "its old shape is gone, and this commit does not have it", action)
        for name in sorted(contracted(observed) - set(names))
    )
