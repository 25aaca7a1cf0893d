"""What a copy looks like before it is masked."""

import psycopg
from psycopg import sql

from tasks.common.masking import Fixed, Masking, split
from tasks.masking.expressions import SCHEMA
from tasks.masking.model import ColumnFacts, CopyFacts

Spot = tuple[str, str, str]

_OURS = f"n.nspname not in ('information_schema', '{SCHEMA}') and n.nspname !~ '^pg_'"
_COLUMNS = f"""
    select n.nspname, c.relname, a.attname,
    case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) else format_type(t.oid, a.atttypmod) end,
    a.attnotnull or t.typnotnull, a.attgenerated <> '',
    exists (select from pg_index i where i.indrelid = c.oid and i.indisunique and a.attnum = any (i.indkey::int2[]))
    from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
    join pg_type t on t.oid = a.atttypid
    where c.relkind in ('r', 'p') and not c.relispartition and a.attnum > 0 and not a.attisdropped and {_OURS}"""  # noqa: S608
_JOINS = """
    select n.nspname, c.relname, a.attname, m.nspname, d.relname, b.attname from pg_constraint k
    join lateral unnest(k.conkey, k.confkey) j(here, there) on true
    join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum = j.here
    join pg_class d on d.oid = k.confrelid join pg_namespace m on m.oid = d.relnamespace
    join pg_attribute b on b.attrelid = d.oid and b.attnum = j.there
    where k.contype = 'f' and not c.relispartition and not d.relispartition"""
_FOREIGN = """
    select c.oid::regclass::text from pg_class c where c.relkind = 'f' order by 1"""


def copy_facts(connection: psycopg.Connection, masking: Masking) -> CopyFacts:
    """Return what a copy looks like. Nothing is changed."""
    joins: dict[Spot, set[Spot]] = {}
    for here_schema, here_table, here, there_schema, there_table, there in connection.execute(_JOINS):
        one, other = (here_schema, here_table, here), (there_schema, there_table, there)
        joins.setdefault(one, set()).add(other)
        joins.setdefault(other, set()).add(one)
    columns = {}
    for schema, table, column, kind, required, generated, unique in connection.execute(_COLUMNS):
        spot = (schema, table, column)
        others = tuple(sorted(joins.get(spot, ())))
        columns[spot] = ColumnFacts(spot, kind, required, unique, generated, others)
    foreign = [row[0] for row in connection.execute(_FOREIGN)]
    (objects,) = connection.execute("select count(*) from pg_largeobject_metadata").fetchone() or (0,)
    wrong = {
        split(spot)
        for spot, rule in masking.masking.items()
        if isinstance(rule, Fixed) and not _castable(connection, columns.get(split(spot)), rule)
    }
    return CopyFacts(columns, foreign, objects, frozenset(wrong))


def _castable(connection: psycopg.Connection, column: ColumnFacts | None, rule: Fixed) -> bool:
    if column is None:
        return True  # found as unknown already
    # The type's name comes from PostgreSQL's own catalogue. A text that is too long is cut by a cast, without an error.
    cast = sql.SQL("{}::" + column.type).format(sql.Literal(rule.value))
    try:
        (value,) = connection.execute(sql.SQL("select ({})::text").format(cast)).fetchone() or ("",)
    except psycopg.DataError:
        return False
    return not column.type.startswith("character") or value.rstrip() == rule.value.rstrip()
