"""Declared operations as the typed steps of a migration's phases. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tasks.migration.catalogue import Catalogue
from tasks.migration.model import Ddl, Step, quoted
from tasks.migration.operations.base import Operation
from tasks.migration.operations.growing import Phases, create, grow, late_references, references
from tasks.migration.operations.shape import PREFIX, State, Wrong, first_state
from tasks.migration.operations.shrinking import shrink, users
from tasks.migration.operations.versions import close_versions, open_version, refresh_version

_INVOKER_FROM = 150000


@dataclass(frozen=True)
class Expansion:
    """What declared operations come to.

    Args:
        phases: the steps of each phase, in order.
        notes: what a person should know beforehand: what is refused to old clients, what nothing takes back.
        opens: the phase after which the version's clients find all of it, and may begin.
    """

    phases: Mapping[Phase, tuple[Step, ...]]
    notes: tuple[str, ...]
    opens: Phase


def compile_operations(
    name: str, operations: Sequence[Operation], version: str, catalogue: Catalogue, older: Sequence[str] = ()
) -> Expansion:
    """Return the steps of declared operations.

    Args:
        name: of the migration: '0016_review_required'.
        operations: in order; each finds what those before have made.
        version: the schema of views that clients of the new shape name; it is not there yet.
        catalogue: what is in the database now.
        older: version schemas of earlier migrations, which go with the old shape.

    Raises:
        Refused: they do not fit what is there; all problems are listed.
    """
    _require_ready(name, version, catalogue)
    state = first_state(catalogue, name.partition("_")[0], version)
    problems = []
    for number, operation in enumerate(operations, 1):
        try:
            operation.apply(state)
        except Wrong as wrong:
            problems.append(f"operation {number} ({getattr(operation, 'operation', '')}): {wrong}")
    if problems:
        raise _misfit(name, problems)
    try:
        return _expansion(name, state, older)
    except Wrong as wrong:
        raise _misfit(name, [str(wrong)]) from None


def _misfit(name: str, problems: Sequence[str]) -> Refused:
    count = "1 operation does" if len(problems) == 1 else f"{len(problems)} operations do"
    return Refused(
        f"{count} not fit the database",
        on=name,
        next_action="correct 'operations' in migration.yaml (docs/reference/migration-file.md explains each)",
        facts={"mistakes": "\n".join(problems)},
    )


def _require_ready(name: str, version: str, catalogue: Catalogue) -> None:
    if version in catalogue.schemas:
        raise Refused(
            f"there is a schema {version} already",
            on=name,
            next_action="choose another name for 'version' in migration.yaml",
        )
    left = sorted(
        f"{relation.name}.{column.name}"
        for relation in catalogue.relations.values()
        for column in relation.columns
        if relation.kind in ("table", "partitioned table") and column.name.startswith(PREFIX)
    )
    if left:
        raise Refused(
            "another migration still has two versions of some tables",
            on=name,
            next_action="finish that one, or take it back: 'slipway migration status' shows which it is",
            facts={"columns": ", ".join(left[:10])},
        )
    secured = sorted(each.name for each in catalogue.relations.values() if each.row_security)
    if secured and catalogue.server_version < _INVOKER_FROM:
        raise Refused(
            f"views of this server would not keep to the row policies of {', '.join(secured)}",
            on=name,
            next_action="use a server from version 15 on, or SQL by hand instead of operations",
        )


def _expansion(name: str, state: State, older: Sequence[str]) -> Expansion:
    phases: Phases = {phase: [] for phase in Phase}
    checks = users(state, older)
    phases[Phase.PREPARE] += [*checks, *state.begin]
    created = [each for each in state.tables if each.created]
    for table in created:
        phases[Phase.PREPARE] += create(state, table)
    for table in created:
        phases[Phase.PREPARE] += references(state, table)
    for table in state.tables:
        if not table.created:
            grow(state, table, name, phases)
    late_references(state, phases)
    opens = Phase.EXECUTE if phases[Phase.EXECUTE] else Phase.PREPARE
    phases[opens].append(open_version(state))
    phases[Phase.CLEANUP] += checks
    phases[Phase.CLEANUP] += [close_versions(older)] if older else []
    phases[Phase.CLEANUP] += shrink(state, name)
    phases[Phase.CLEANUP] += _ending(state)
    return Expansion({phase: tuple(steps) for phase, steps in phases.items()}, tuple(state.notes), opens)


def _ending(state: State) -> list[Step]:
    """Return the raw SQL of the end; the version's views make way for it, and come back, in one transaction."""
    if not state.end:
        return []
    schema = quoted(state.version)
    statements = [f"DROP SCHEMA {schema} CASCADE", f"CREATE SCHEMA {schema}"]
    for step in state.end:
        assert isinstance(step, Ddl)
        statements += step.statements
    statements += refresh_version(state).statements
    what = "; ".join(each.what for each in state.end)
    return [Ddl(statements=tuple(statements), what=what, undo=None)]
