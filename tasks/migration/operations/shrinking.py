"""The steps with which the old shape goes, when nobody has it any more. Pure."""

import re
from collections.abc import Iterable, Sequence

from tasks.migration.model import Check, Ddl, DropIndex, Step, quoted
from tasks.migration.operations.building import KEYS, Fate, attached, fate, place
from tasks.migration.operations.expressions import literal
from tasks.migration.operations.growing import counts, firm_name, newly_firm, sequence_name, viewed_default
from tasks.migration.operations.shape import ColumnState, State, TableState
from tasks.migration.operations.syncing import marker, sync
from tasks.migration.operations.versions import view_of

_SEQUENCE = re.compile(r"^nextval\('(?P<name>(?:[^']|'')+)'::regclass\)$")

_USERS = """SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS "what uses it", a.attname AS "column"
FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = {table}::regclass AND a.attname = ANY ({columns})
  AND d.classid NOT IN ('pg_constraint'::regclass, 'pg_statistic_ext'::regclass)
  AND NOT (d.classid = 'pg_class'::regclass
    AND EXISTS (SELECT FROM pg_class i WHERE i.oid = d.objid AND i.relkind IN ('i', 'I', 'S')))
  AND NOT (d.classid = 'pg_trigger'::regclass AND EXISTS (
    SELECT FROM pg_trigger g WHERE g.oid = d.objid AND ltrim(g.tgname, '~') LIKE '\\_slipway\\_%'))
  AND NOT (d.classid = 'pg_attrdef'::regclass AND EXISTS (
    SELECT FROM pg_attrdef f JOIN pg_attribute b ON b.attrelid = f.adrelid AND b.attnum = f.adnum
    WHERE f.oid = d.objid AND b.attrelid = d.refobjid AND b.attname = ANY ({columns})))
  AND NOT (d.classid = 'pg_rewrite'::regclass AND EXISTS (
    SELECT FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class
    WHERE r.oid = d.objid AND v.relnamespace::regnamespace::text = ANY ({versions})))
LIMIT 10"""

# PL/pgSQL keeps the types of a row's columns for as long as a session lasts, unless the function is changed: sessions
# that are open would fail with "type of parameter does not match that when preparing the plan".
_READ_AGAIN = """DO $slipway$
DECLARE one record;
BEGIN
  FOR one IN
    SELECT DISTINCT p.oid::regprocedure::text AS name, p.procost AS cost
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang
    WHERE t.tgrelid = {table}::regclass AND NOT t.tgisinternal AND l.lanname = 'plpgsql'
      AND pg_has_role(p.proowner, 'USAGE')
  LOOP
    EXECUTE format('ALTER FUNCTION %s COST %s', one.name, one.cost);
  END LOOP;
END $slipway$"""

_TABLE_USERS = """SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) AS "what uses it"
FROM pg_depend d
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = {table}::regclass
  AND (d.classid = 'pg_proc'::regclass OR d.classid = 'pg_rewrite'::regclass AND NOT EXISTS (
    SELECT FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class
    WHERE r.oid = d.objid AND v.relnamespace::regnamespace::text = ANY ({versions})))
LIMIT 10"""


def users(state: State, older: Sequence[str]) -> list[Step]:
    """Return the steps that find what still needs columns and tables that go: views, policies, publications."""
    versions = _array(quoted_as_needed(each) for each in [*older, state.version])
    found: list[Step] = []
    for table in state.tables:
        gone = [each.physical for each in table.gone]
        if gone and not table.created:
            query = _USERS.replace("{table}", literal(str(table.table)).strip()).replace("{versions}", versions)
            query = query.replace("{columns}", _array(gone))
            what = f"nothing else needs {', '.join(gone)} of {table.physical}"
            found.append(Check(what=what, query=query, says=f"something needs columns of {table.physical} that go"))
    for table in state.dropped:
        query = _TABLE_USERS.replace("{table}", literal(str(table.table)).strip()).replace("{versions}", versions)
        what = f"nothing else needs {table.physical}"
        found.append(Check(what=what, query=query, says=f"something needs {table.physical}, which goes"))
    return found


def quoted_as_needed(name: str) -> str:
    """Return a name as regnamespace shows it."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else quoted(name)


def _array(values: Iterable[str]) -> str:
    return f"ARRAY[{', '.join(literal(each).strip() for each in values)}]::text[]"


def shrink(state: State, migration: str) -> list[Step]:
    """Return the steps after which the new shape is the only one."""
    steps: list[Step] = []
    old = [each for each in state.tables if not each.created]
    for table in [*old, *state.dropped]:
        keys = _foreign_keys(state, table)
        steps += [_ddl(keys, f"retire the foreign keys of {table.physical}")] if keys else []
    for table in state.dropped:
        steps.append(_ddl([f"DROP TABLE IF EXISTS {table.table}"], f"drop the table {table.physical}"))
    for table in old:
        statements = _contract(state, table, migration)
        steps += [_ddl(statements, f"give {table.physical} its new shape")] if statements else []
    indexes = [each for table in old for each in table.gone_indexes]
    steps += [
        DropIndex(what=f"drop the index {each.name}", index=each.original.name, schema_=state.base, undo=None)
        for each in indexes
        if each.original is not None
    ]
    for table in state.tables:
        names = _names(state, table)
        steps += [_ddl(names, f"give {table.name} its names")] if names else []
    return steps


def _ddl(statements: Sequence[str], what: str) -> Ddl:
    return Ddl(statements=tuple(statements), what=what, undo=None)


def _foreign_keys(state: State, table: TableState) -> list[str]:
    gone = [each for each in table.gone_rules if each.kind == "foreign key" and each.original is not None]
    if table in state.dropped:
        gone = []
    statements = [
        f"ALTER TABLE {table.table} DROP CONSTRAINT IF EXISTS {quoted(each.original.name)}"
        for each in gone
        if each.original is not None
    ]
    for rule in table.rules if table in state.tables else ():
        if rule.kind == "foreign key" and fate(table, rule) is Fate.COPIED and rule.original is not None:
            name = quoted(rule.original.name)
            statements.append(f"ALTER TABLE {table.table} DROP CONSTRAINT IF EXISTS {name}")
    return statements


def _contract(state: State, table: TableState, migration: str) -> list[str]:
    kept = sync(state, table, migration)
    # New clients lock the view and then the table: who locks the table first waits for them, and they for it.
    statements = _views(state, table)
    statements += kept.unmake if table.fresh or table.gone else []
    statements += _own(table)
    for rule in table.gone_rules:
        if rule.original is not None and rule.kind != "foreign key":
            statements.append(f"ALTER TABLE {table.table} DROP CONSTRAINT IF EXISTS {quoted(rule.original.name)}")
    for rule in table.rules:
        if rule.original is not None and rule.kind in KEYS and fate(table, rule) is Fate.COPIED:
            statements.append(f"ALTER TABLE {table.table} DROP CONSTRAINT IF EXISTS {quoted(rule.original.name)}")
    statements += [*_sequences(table), *_identities(state, table)]
    gone = [each.physical for each in table.gone] + ([marker(state)] if kept.filled else [])
    if gone:
        drops = ", ".join(f"DROP COLUMN IF EXISTS {quoted(each)}" for each in gone)
        statements.append(f"ALTER TABLE {table.table} {drops}")
    statements += [
        f"ALTER SEQUENCE {quoted(state.base)}.{quoted(_spare_sequence(state, old))} RENAME TO "
        f"{quoted(f'{table.physical}_{old.physical}_seq')}"
        for old, _ in _counted(table)
    ]
    statements += _firmness(state, table)
    statements += _renamed_columns(state, table)
    statements += _constraints(state, table)
    assert table.relation is not None
    if table.gone and table.relation.triggers:
        statements.append(_READ_AGAIN.replace("{table}", literal(str(table.table)).strip()))
    return statements


def _views(state: State, table: TableState) -> list[str]:
    """Return the statements after which the view leaves defaults to the table."""
    return [
        f"ALTER VIEW IF EXISTS {view_of(state, table)} ALTER COLUMN {quoted(each.name)} DROP DEFAULT"
        for each in table.columns
        if each.view_default is not None or viewed_default(table, each)
    ]


def _own(table: TableState) -> list[str]:
    """Return the statements with which defaults and comments that only new clients have become those of the table."""
    statements = []
    for column in table.columns:
        name = quoted(column.physical)
        if column.view_default is not None:
            change = f"SET DEFAULT {column.view_default}" if column.view_default else "DROP DEFAULT"
            statements.append(f"ALTER TABLE {table.table} ALTER COLUMN {name} {change}")
        if viewed_default(table, column) and not column.identity:
            statements.append(f"ALTER TABLE {table.table} ALTER COLUMN {name} SET DEFAULT {column.default}")
        if column.view_comment is not None:
            text = literal(column.view_comment) if column.view_comment else "NULL"
            statements.append(f"COMMENT ON COLUMN {table.table}.{name} IS {text}")
        if column.loosened:
            statements.append(f"ALTER TABLE {table.table} ALTER COLUMN {name} DROP NOT NULL")
    if table.view_comment is not None and not table.created:
        text = literal(table.view_comment) if table.view_comment else "NULL"
        statements.append(f"COMMENT ON TABLE {table.table} IS {text}")
    return statements


def _sequences(table: TableState) -> list[str]:
    """Return the statements after which what counts for a column goes on to count for the one in its place."""
    statements = []
    for column in table.gone:
        successor = column.newest()
        if successor is column or successor not in table.columns:
            continue
        found = _SEQUENCE.match(column.default)
        owner = f"{table.table}.{quoted(successor.physical)}"
        if found is not None:
            statements.append(f"ALTER SEQUENCE {found['name']} OWNED BY {owner}")
    return statements


def _identities(state: State, table: TableState) -> list[str]:
    statements = []
    for column, successor in _counted(table):
        name = quoted(successor.physical)
        sequence = f"{quoted(state.base)}.{quoted(_spare_sequence(state, column))}"
        kind = f"GENERATED {column.identity.upper()} AS IDENTITY (SEQUENCE NAME {sequence})"
        where = literal(str(table.table)).strip()
        after = f"pg_get_serial_sequence({where}, {literal(successor.physical).strip()})"
        before = f"pg_get_serial_sequence({where}, {literal(column.physical).strip()})"
        statements += [
            f"ALTER TABLE {table.table} ALTER COLUMN {name} SET NOT NULL",
            f"ALTER TABLE {table.table} ALTER COLUMN {name} ADD {kind}",
            f"SELECT setval({after}, nextval({before}), false)",
        ]
    return statements


def _counted(table: TableState) -> list[tuple[ColumnState, ColumnState]]:
    """Return the identity columns that are replaced, each with the one in its place."""
    pairs = [(each, each.newest()) for each in table.gone if each.identity]
    return [(old, new) for old, new in pairs if new is not old and new in table.columns]


def _spare_sequence(state: State, column: ColumnState) -> str:
    return state.made(column.physical, "seq")


def _firmness(state: State, table: TableState) -> list[str]:
    statements = []
    for column in table.columns:
        if newly_firm(table, column):
            change = f"ALTER COLUMN {quoted(column.physical)} SET NOT NULL"
            statements.append(f"ALTER TABLE {table.table} {change}")
            drop = f"DROP CONSTRAINT IF EXISTS {quoted(firm_name(state, column))}"
            statements.append(f"ALTER TABLE {table.table} {drop}")
    return statements


def _renamed_columns(state: State, table: TableState) -> list[str]:
    moves = [each for each in table.columns if each.physical != each.name]
    busy = {each.physical for each in table.columns}
    statements, second = [], []
    for column in moves:
        if column.name in busy:
            spare = state.made(column.physical, "moves")
            statements.append(_renamed(table, column.physical, spare))
            second.append(_renamed(table, spare, column.name))
        else:
            statements.append(_renamed(table, column.physical, column.name))
    return statements + second


def _renamed(table: TableState, before: str, after: str) -> str:
    return f"ALTER TABLE {table.table} RENAME COLUMN {quoted(before)} TO {quoted(after)}"


def _constraints(state: State, table: TableState) -> list[str]:
    statements: list[str] = []
    for rule in table.rules:
        what = fate(table, rule)
        before = rule.original.name if what is Fate.KEPT and rule.original is not None else rule.name
        if what in (Fate.MADE, Fate.COPIED):
            if rule.kind in KEYS:
                statements += attached(state, table, rule)
                continue
            before = place(state, table, rule).name
        if what is not Fate.GOES and before != rule.name:
            names = f"{quoted(before)} TO {quoted(rule.name)}"
            statements.append(f"ALTER TABLE {table.table} RENAME CONSTRAINT {names}")
    return statements


def _sequence_name(state: State, table: TableState, column: ColumnState) -> list[str]:
    now, final = sequence_name(state, table, column), f"{table.name}_{column.name}_seq"
    if now == final or not counts(column):
        return []
    return [f"ALTER SEQUENCE {quoted(state.base)}.{quoted(now)} RENAME TO {quoted(final)}"]


def _names(state: State, table: TableState) -> list[str]:
    statements: list[str] = []
    for index in table.indexes:
        what = fate(table, index)
        where = place(state, table, index) if what in (Fate.MADE, Fate.COPIED) else None
        if where is not None and where.name != where.final:
            name = f"{quoted(state.base)}.{quoted(where.name)}"
            statements.append(f"ALTER INDEX {name} RENAME TO {quoted(where.final)}")
    if table.created:
        for column in table.columns:
            statements += _sequence_name(state, table, column)
        for rule in table.rules:
            spot = place(state, table, rule)
            if spot.name != spot.final:
                names = f"{quoted(spot.name)} TO {quoted(spot.final)}"
                statements.append(f"ALTER TABLE {table.table} RENAME CONSTRAINT {names}")
    if table.physical != table.name:
        statements.append(f"ALTER TABLE {table.table} RENAME TO {quoted(table.name)}")
    return statements
