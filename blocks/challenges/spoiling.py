"""Spoils a throw-away database: what a backup of a source that has gone wrong would hold."""

import psycopg
from psycopg import sql

from tasks.verification.model import HEARTBEAT_TABLE

_OWN = "n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'"
_FREE = "not exists (select from pg_depend where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e')"
_TABLES = f"""
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and {_OWN} and c.relname <> '{HEARTBEAT_TABLE}'
      and {_FREE}
order by pg_total_relation_size(c.oid) desc, 1, 2 limit 1
"""  # noqa: S608 - put together from this file's own constants
_KEYS = f"""
select n.nspname, c.relname, pn.nspname, p.relname, k.conname,
       array(select a.attname::text from unnest(k.conkey) with ordinality u(number, place)
             join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.number order by u.place),
       array(select a.attname::text from unnest(k.confkey) with ordinality u(number, place)
             join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.number order by u.place)
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
join pg_class p on p.oid = k.confrelid join pg_namespace pn on pn.oid = p.relnamespace
where k.contype = 'f' and k.convalidated and k.conparentid = 0 and {_OWN} and {_FREE}
order by pg_total_relation_size(p.oid) desc, 1, 2, 5
"""  # noqa: S608 - put together from this file's own constants


def drop_largest_table(address: str) -> str:
    """The largest table is gone, with what depends on it; returns its name, '' where there is none."""
    with psycopg.connect(address, autocommit=True) as session:
        found = session.execute(_TABLES).fetchone()
        if found is None:
            return ""
        session.execute(sql.SQL("drop table {} cascade").format(sql.Identifier(*found)))
    return ".".join(found)


def break_largest_foreign_key(address: str) -> str:
    """A row that others refer to is gone; returns the key that is broken by it, '' where there is no such row.

    The keys' own triggers do not run meanwhile. *Source:* PostgreSQL 15 manual, 20.11.1, session_replication_role.
    """
    with psycopg.connect(address, autocommit=True) as session:
        session.execute("set session_replication_role = replica")
        for schema, table, parent_schema, parent, name, columns, parent_columns in session.execute(_KEYS).fetchall():
            child, its_parent = sql.Identifier(schema, table), sql.Identifier(parent_schema, parent)
            # Of a single row the table would be empty, which is another fault.
            if session.execute(sql.SQL("select from {} offset 1 limit 1").format(its_parent)).fetchone() is None:
                continue
            own = [sql.Identifier(column) for column in columns]
            query = sql.SQL("delete from {} where ({}) in (select {} from {} where {} limit 1)").format(
                its_parent,
                sql.SQL(", ").join(map(sql.Identifier, parent_columns)),
                sql.SQL(", ").join(own),
                child,
                sql.SQL(" and ").join(sql.SQL("{} is not null").format(each) for each in own),
            )
            if session.execute(query).rowcount:
                return f"{schema}.{table} {name}"
    return ""
