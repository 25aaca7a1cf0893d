"""Every column of a copy that can hold text, searched for mail addresses."""

import psycopg
from psycopg import sql

from tasks.common.masking import Masking, split
from tasks.masking.expressions import ADDRESS, MASKED, SCHEMA
from tasks.masking.model import Survivor

_COLUMNS = f"""
    select n.nspname, c.relname, a.attname, t.typname = 'bytea',
    array(select b.attname::text from pg_index i join unnest(i.indkey) with ordinality k(number, place) on true
        join pg_attribute b on b.attrelid = c.oid and b.attnum = k.number
        where i.indrelid = c.oid and i.indisprimary order by k.place)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
    join pg_type t on t.oid = a.atttypid
    where (c.relkind in ('r', 'p') and not c.relispartition or c.relkind = 'm' and c.relispopulated)
    and a.attnum > 0 and not a.attisdropped and t.typcategory not in ('B', 'D', 'E', 'G', 'I', 'N', 'T')
    and n.nspname not in ('information_schema', '{SCHEMA}') and n.nspname !~ '^pg_' order by 1, 2, a.attnum"""  # noqa: S608
_SEARCH = """
    select count(distinct number), (array_agg(distinct key))[:20] from (
        select row_number() over () as number, {key} as key, {text} as text from {table}
        where {text} like '%%@%%') rows
    cross join lateral (select lower(m[1]) as address from regexp_matches(text, %(address)s, 'g') m) found
    where exists (select from {schema}.seen where digest = {schema}.keyed(address, %(inner)s, %(outer)s))
    or not (address ~ %(masked)s or address = any (%(whole)s) or substring(address from '@.*$') = any (%(domains)s))"""


def search(connection: psycopg.Connection, masking: Masking, pads: dict[str, bytes]) -> tuple[list[Survivor], int]:
    """Return where addresses are left, and how many columns were searched. Nothing is changed. *Idempotent:* yes.

    An address is left if it is not allowed in its column, or if it stood in a column that was masked, allowed or not.
    Searched are text, JSON, XML, arrays, composite types, search vectors and bytes, of tables and materialized views.
    Addresses that are encoded (base64, '%40') are not found.
    """
    allowed = {split(spot): addresses for spot, addresses in masking.allow_mail.items()}
    columns = connection.execute(_COLUMNS).fetchall()
    survivors = []
    for schema, table, column, is_bytes, key in columns:
        addresses = [each.lower() for each in allowed.get((schema, table, column), ())]
        given = {
            **pads,
            "address": ADDRESS,
            "masked": MASKED,
            "whole": [each for each in addresses if not each.startswith("@")],
            "domains": [each for each in addresses if each.startswith("@")],
        }
        # What is itself a secret of a person is no key to show.
        shown = [each for each in key if each != column]
        name = sql.Identifier(column)
        query = sql.SQL(_SEARCH).format(
            key=sql.SQL("concat_ws('/', {})").format(sql.SQL(", ").join(map(sql.Identifier, shown)))
            if shown
            else sql.SQL("''"),
            text=sql.SQL("encode({}, 'escape')" if is_bytes else "{}::text").format(name),
            table=sql.Identifier(schema, table),
            schema=sql.Identifier(SCHEMA),
        )
        rows, keys = connection.execute(query, given).fetchone() or (0, None)
        if rows:
            where = f"{table}.{column}" if schema == "public" else f"{schema}.{table}.{column}"
            survivors.append(Survivor(where, rows, tuple(each for each in keys or () if each)))
    return survivors, len(columns)
