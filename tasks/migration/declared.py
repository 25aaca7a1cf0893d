"""A migration as typed steps for one database: what was written by hand, or its declared operations. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.common.migrations import PHASES, Phase
from tasks.migration.catalogue import Observed
from tasks.migration.files import Written
from tasks.migration.model import Compiled
from tasks.migration.operations import compile_operations


@dataclass(frozen=True)
class ForDatabase:
    """A migration as it is done in one database.

    Args:
        compiled: its steps.
        notes: what a person should know beforehand.
        opens: the phase after which clients of its version may begin; None where it has none.
    """

    compiled: Compiled
    notes: tuple[str, ...] = ()
    opens: Phase | None = None


def for_database(written: Written, observed: Observed, waits_for: Sequence[str] = ()) -> ForDatabase:
    """Return what is done in a database: what is on record since it began, or what its operations come to now.

    Args:
        written: the migration.
        observed: what is in the database.
        waits_for: migrations that come before it and are not done yet: its operations are compiled when they are.

    Raises:
        Refused: its operations do not fit what is there.
    """
    attempt = observed.attempt(written.name)
    if attempt is not None:
        return ForDatabase(attempt.compiled)
    compiled = written.compiled()
    if not written.operations:
        return ForDatabase(compiled)
    if waits_for:
        told = f"{written.name}: its steps are known once {', '.join(waits_for)} is done"
        return ForDatabase(compiled, (told,))
    older = [each.standing.version for each in observed.attempts if each.standing.version]
    older = [each for each in older if each in observed.catalogue.schemas]
    made = compile_operations(
        written.name, written.operations, compiled.version, observed.catalogue, tuple(dict.fromkeys(older))
    )
    phases = {phase: (*made.phases.get(phase, ()), *compiled.steps(phase)) for phase in PHASES}
    notes = [f"{written.name}: {each}" for each in made.notes]
    notes.append(f"{written.name}: clients of {compiled.version} may begin after {made.opens}, and not before")
    return ForDatabase(compiled.model_copy(update={"phases": phases}), tuple(notes), made.opens)
