"""The steps with which a migration grows the new shape beside the old one. Pure."""

from tasks.common.migrations import Phase
from tasks.migration.model import Backfill, Check, Ddl, Step, quoted
from tasks.migration.operations.base import SERIAL
from tasks.migration.operations.building import (
    KEYS,
    Fate,
    breaks,
    built,
    definition,
    fate,
    not_valid,
    place,
    validated,
)
from tasks.migration.operations.expressions import is_steady, literal, mentioned
from tasks.migration.operations.shape import ColumnState, IndexState, Rule, State, TableState, Wrong
from tasks.migration.operations.syncing import Sync, marker, sync

Phases = dict[Phase, list[Step]]


def create(state: State, table: TableState) -> list[Step]:
    """Return the steps that make a new table, its indexes among them: nobody waits for it yet."""
    statements: list[str] = []
    parts = []
    for column in table.columns:
        kind = SERIAL.get(column.type.lower())
        sequence = _sequence(state, table, column)
        if kind is not None:
            statements.append(f"CREATE SEQUENCE {sequence} AS {kind}")
        parts.append(_column(column, sequence))
    for rule in table.rules:
        if rule.kind != "foreign key":
            parts.append(f"CONSTRAINT {quoted(place(state, table, rule).name)} {definition(rule)}")
    statements.append(f"CREATE TABLE {table.table} ({', '.join(parts)})")
    for column in table.columns:
        if column.type.lower() in SERIAL:
            owner = f"{table.table}.{quoted(column.physical)}"
            statements.append(f"ALTER SEQUENCE {_sequence(state, table, column)} OWNED BY {owner}")
        if column.comment:
            statements.append(f"COMMENT ON COLUMN {table.table}.{quoted(column.physical)} IS {literal(column.comment)}")
    if table.comment:
        statements.append(f"COMMENT ON TABLE {table.table} IS {literal(table.comment)}")
    for index in table.indexes:
        unique = "UNIQUE " if index.unique else ""
        name = quoted(place(state, table, index).name)
        statements.append(f"CREATE {unique}INDEX {name} ON {table.table} {index.text}")
    undo = (Ddl(statements=(f"DROP TABLE IF EXISTS {table.table}",), what=f"drop the table {table.name}"),)
    return [Ddl(statements=tuple(statements), what=f"make the table {table.name}", undo=undo)]


def references(state: State, table: TableState) -> list[Step]:
    """Return the steps that add the foreign keys of a new table, which has no rows yet."""
    found: list[Step] = []
    for rule in table.rules:
        if rule.kind == "foreign key":
            _require_target(state, table, rule)
            name = quoted(place(state, table, rule).name)
            statement = f"ALTER TABLE {table.table} ADD CONSTRAINT {name} {definition(rule)}"
            undo = (
                Ddl(
                    statements=(f"ALTER TABLE IF EXISTS {table.table} DROP CONSTRAINT IF EXISTS {name}",),
                    what=f"drop the foreign key {rule.name}",
                ),
            )
            found.append(Ddl(statements=(statement,), what=f"add {rule.name} to {table.name}", undo=undo))
    return found


def counts(column: ColumnState) -> bool:
    """Return whether a column of a new table has a sequence of its own."""
    return bool(column.identity) or column.type.lower() in SERIAL


def sequence_name(state: State, table: TableState, column: ColumnState) -> str:
    """Return the name that the sequence of a column that counts has while there are two versions."""
    name = f"{table.name}_{column.name}_seq"
    before = {each.physical for each in [*state.tables, *state.dropped] if not each.created}
    return state.made(name) if table.name in before else name


def _sequence(state: State, table: TableState, column: ColumnState) -> str:
    return f"{quoted(state.base)}.{quoted(sequence_name(state, table, column))}"


def grow(state: State, table: TableState, migration: str, phases: Phases) -> None:
    """The phases have the steps that grow a table's new shape.

    Raises:
        Wrong: it cannot be grown.
    """
    _require_rules(table)
    kept = sync(state, table, migration)
    if table.fresh or kept.make:
        phases[Phase.PREPARE].append(_widen(state, table, kept))
    if kept.filled:
        assert table.relation is not None
        if not table.relation.batch_key():
            raise Wrong(
                f"{table.name}, which has no key to fill it by", "a primary key, or a unique index of NOT NULL columns"
            )
        fill = Backfill(what=f"fill {table.name}", table=table.table, set_=kept.filled, where=quoted(marker(state)))
        phases[Phase.EXECUTE].append(fill)
        phases[Phase.VALIDATE].append(_all_filled(state, table))
    _rules(state, table, phases)
    _firm(state, table, phases)
    leaving = [each.name for each in table.rules if fate(table, each) is Fate.GOES]
    leaving += [each.name for each in table.indexes if fate(table, each) is Fate.GOES]
    if leaving:
        state.notes.append(f"{', '.join(leaving)} of {table.name} go with their columns in cleanup")


def _widen(state: State, table: TableState, kept: Sync) -> Ddl:
    """Return the step that adds the fresh columns, and what fills them for rows written from then on."""
    adds, then = [], []
    for column in table.fresh:
        collation = f" COLLATE {quoted(column.collation)}" if column.collation else ""
        default = column_default(table, column)
        at_once = default and column.up is None and is_steady(default)
        adds.append(
            f"ADD COLUMN {quoted(column.physical)} {column.type}{collation}"
            + (f" DEFAULT {default}" if at_once else "")
        )
        # Where old clients' rows are filled, a default is the view's: theirs would draw from a sequence for nothing.
        if default and not at_once and column.up is None:
            then.append(f"ALTER COLUMN {quoted(column.physical)} SET DEFAULT {default}")
    if kept.filled:
        adds.append(f"ADD COLUMN {quoted(marker(state))} boolean NOT NULL DEFAULT true")
        then.append(f"ALTER COLUMN {quoted(marker(state))} SET DEFAULT false")
    statements = [f"ALTER TABLE {table.table} {', '.join(adds)}"] if adds else []
    statements += [f"ALTER TABLE {table.table} {', '.join(then)}"] if then else []
    for column in table.fresh:
        if column.comment:
            statements.append(f"COMMENT ON COLUMN {table.table}.{quoted(column.physical)} IS {literal(column.comment)}")
    columns = [each.physical for each in table.fresh] + ([marker(state)] if kept.filled else [])
    drops = ", ".join(f"DROP COLUMN IF EXISTS {quoted(each)}" for each in columns)
    back = [*kept.unmake, *([f"ALTER TABLE {table.table} {drops}"] if drops else [])]
    undo = (Ddl(statements=tuple(back), what=f"take the new columns of {table.name} away"),)
    what = f"add the new columns of {table.name}" if columns else f"keep {table.name} in step"
    return Ddl(statements=(*statements, *kept.make), what=what, undo=undo)


def viewed_default(table: TableState, column: ColumnState) -> str:
    """Return the default of a fresh column that only the version's view has as yet, as SQL; '' where it has none."""
    return column_default(table, column) if column.fresh and column.up is not None and not table.created else ""


def column_default(table: TableState, column: ColumnState) -> str:
    """Return the default of a fresh column, as SQL; '' where it has none."""
    if not column.identity or table.created:
        return column.default
    before = next(each for each in table.first if each.newest() is column)
    name = literal(str(table.table)).strip()
    return f"nextval(pg_get_serial_sequence({name}, {literal(before.physical).strip()}))"


def _rules(state: State, table: TableState, phases: Phases) -> None:
    for rule in table.rules:
        what = fate(table, rule)
        if what not in (Fate.MADE, Fate.COPIED):
            continue
        if rule.kind == "exclude":
            raise Wrong(f"the exclusion {rule.name} on a column that is replaced", "it dropped before")
        if rule.kind in KEYS:
            phases[Phase.EXECUTE] += built(state, table, rule)
            continue
        if rule.kind == "foreign key":
            _require_target(state, table, rule)
        old = all(not each.newest().fresh for each in rule.columns.values())
        if old and what is Fate.MADE:
            # Old clients are held to it from here on: rows that break it could not even be changed.
            phases[Phase.PREPARE].append(breaks(rule, table))
        if not _waits_for_index(rule):
            phases[Phase.PREPARE].append(not_valid(state, table, rule))
        phases[Phase.VALIDATE] += [breaks(rule, table), validated(state, table, rule)]
    for index in table.indexes:
        if fate(table, index) in (Fate.MADE, Fate.COPIED):
            phases[Phase.EXECUTE] += built(state, table, index)


def late_references(state: State, phases: Phases) -> None:
    """The phases have the foreign keys that refer to columns which are unique only after a build."""
    for table in state.tables:
        for rule in table.rules:
            grown = not table.created and fate(table, rule) in (Fate.MADE, Fate.COPIED)
            if rule.kind == "foreign key" and grown and _waits_for_index(rule):
                phases[Phase.EXECUTE].append(not_valid(state, table, rule))


def _waits_for_index(rule: Rule) -> bool:
    if rule.kind != "foreign key" or rule.target_table is None or rule.target_table.created:
        return False
    target = {each.newest() for each in rule.target}
    there = rule.target_table
    items: list[Rule | IndexState] = [*there.rules, *there.indexes]
    kept = [each for each in items if fate(there, each) is Fate.KEPT]
    return target not in [{each.newest() for each in one.columns.values()} for one in kept]


def _firm(state: State, table: TableState, phases: Phases) -> None:
    """Columns that are never NULL in the new shape are checked, and validated without a long lock."""
    for column in table.columns:
        if not newly_firm(table, column):
            continue
        name, reference = firm_name(state, column), quoted(column.physical)
        find = Check(
            what=f"{column.name} of {table.name} has no NULL",
            query=f"SELECT * FROM {table.table} WHERE {reference} IS NULL LIMIT 10",  # noqa: S608
            says=f"rows of {table.name} have no {column.name}",
        )
        rule = Rule(name, "check", {column.physical: column}, f"{reference} IS NOT NULL")
        add = not_valid(state, table, rule)
        phases[Phase.PREPARE] += [add] if column.fresh else [find, add]
        phases[Phase.VALIDATE] += [find, validated(state, table, rule)]


def newly_firm(table: TableState, column: ColumnState) -> bool:
    """Return whether a column is made NOT NULL by this migration."""
    assert table.relation is not None
    if column.fresh:
        return column.not_null
    before = table.relation.column(column.physical)
    return column.not_null and before is not None and not before.not_null


def firm_name(state: State, column: ColumnState) -> str:
    """Return the name of the check that a column is not NULL, which makes SET NOT NULL quick."""
    return state.made(column.name, "filled")


def _all_filled(state: State, table: TableState) -> Check:
    query = f"SELECT * FROM {table.table} WHERE {quoted(marker(state))} LIMIT 10"  # noqa: S608
    return Check(what=f"{table.name} is filled", query=query, says=f"rows of {table.name} are not filled")


def _require_rules(table: TableState) -> None:
    for column in table.gone:
        users = [each.name for each in table.first if each.generated and _uses(each, column) and each in table.columns]
        if users:
            raise Wrong(
                f"{', '.join(users)} of {table.name}, generated from {column.name}", "it dropped in the same migration"
            )


def _uses(generated: ColumnState, column: ColumnState) -> bool:
    return bool(mentioned(generated.generated, {column.physical}))


def _require_target(state: State, table: TableState, rule: Rule) -> None:
    known = rule.target_table is not None and rule.target_table in state.tables
    if not known or any(each.newest() not in rule.target_table.columns for each in rule.target):  # type: ignore[union-attr]
        raise Wrong(f"the foreign key {rule.name} of {table.name} to what goes", "it dropped before")


def _column(column: ColumnState, sequence: str) -> str:
    kind = SERIAL.get(column.type.lower())
    parts = [quoted(column.physical), kind or column.type]
    if column.identity:
        parts.append(f"GENERATED {column.identity.upper()} AS IDENTITY (SEQUENCE NAME {sequence})")
    if column.generated:
        parts.append(f"GENERATED ALWAYS AS ({column.generated}) STORED")
    if kind is not None:
        parts.append(f"DEFAULT nextval({literal(sequence).strip()})")
    elif column.default:
        parts.append(f"DEFAULT {column.default}")
    return " ".join([*parts, *(["NOT NULL"] if column.not_null else [])])
