"""What is in a database, and how its server is, for the plans and rules of migrations."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from blocks.migrations import store
from blocks.migrations.meaning import translated
from blocks.migrations.sessions import Sessions, holder
from tasks.common.errors import Refused
from tasks.migration.catalogue import (
    Catalogue,
    Column,
    Constraint,
    Identity,
    Index,
    LongTransaction,
    Observed,
    Relation,
    Trigger,
)
from tasks.migration.health import Measures
from tasks.migration.model import Table

LONG_S = 60.0
"""A transaction that is open for this long is told of: index builds wait for it."""
# What has another value later, though a statement sees one value only.
_LATER = frozenset(
    {
        "now",
        "transaction_timestamp",
        "statement_timestamp",
        "txid_current",
        "pg_current_xact_id",
        "current_setting",
        "pg_backend_pid",
    }
)
_SCHEMAS = """n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast', 'slipway')
    and n.nspname not like 'pg\\_temp\\_%' and n.nspname not like 'pg\\_toast\\_temp\\_%'"""
_RELATIONS = f"""
select c.oid, n.nspname, c.relname,
       case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
                      when 'm' then 'materialized view' else 'foreign table' end,
       greatest(c.reltuples, 0)::bigint,
       case when c.relkind in ('r', 'm') then pg_total_relation_size(c.oid) else 0 end,
       (select pn.nspname from pg_inherits i join pg_class p on p.oid = i.inhparent join pg_namespace pn
           on pn.oid = p.relnamespace where i.inhrelid = c.oid and c.relispartition),
       (select p.relname from pg_inherits i join pg_class p on p.oid = i.inhparent
         where i.inhrelid = c.oid and c.relispartition),
       c.relrowsecurity, coalesce(obj_description(c.oid, 'pg_class'), '')
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'f') and {_SCHEMAS}
"""  # noqa: S608 - of this module's own constants
_COLUMNS = f"""
select a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       case when a.attgenerated = '' then coalesce(pg_get_expr(d.adbin, d.adrelid), '') else '' end,
       case a.attidentity when 'a' then 'always' when 'd' then 'by default' else '' end,
       case when a.attgenerated <> '' then coalesce(pg_get_expr(d.adbin, d.adrelid), '') else '' end,
       coalesce(col_description(a.attrelid, a.attnum), ''),
       coalesce((select o.collname from pg_collation o, pg_type t
                  where o.oid = a.attcollation and t.oid = a.atttypid and a.attcollation <> t.typcollation), '')
  from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f') and {_SCHEMAS}
 order by a.attrelid, a.attnum
"""  # noqa: S608 - of this module's own constants
_CONSTRAINTS = f"""
select k.conrelid, k.conname,
       case k.contype when 'p' then 'primary key' when 'u' then 'unique' when 'f' then 'foreign key'
                      when 'c' then 'check' else 'exclude' end,
       array(select a.attname::text from unnest(k.conkey) with ordinality as u(num, place)
               join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.num order by u.place),
       pg_get_constraintdef(k.oid), k.convalidated, fn.nspname, f.relname,
       coalesce(obj_description(k.oid, 'pg_constraint'), '')
  from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
  left join pg_class f on f.oid = k.confrelid left join pg_namespace fn on fn.oid = f.relnamespace
 where k.contype in ('p', 'u', 'f', 'c', 'x') and {_SCHEMAS} order by k.conrelid, k.conname
"""  # noqa: S608 - of this module's own constants
_INDEXES = f"""
select i.indrelid, x.relname,
       case when 0 = any(i.indkey::int2[]) then '{{}}'::text[] else
           array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality as u(num, place)
                   join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.num
                  where u.place <= i.indnkeyatts order by u.place) end,
       i.indisunique, i.indisvalid and i.indisready, pg_get_indexdef(i.indexrelid), i.indpred is not null,
       coalesce(k.conname, ''), pg_relation_size(i.indexrelid)
  from pg_index i join pg_class x on x.oid = i.indexrelid join pg_class c on c.oid = i.indrelid
  join pg_namespace n on n.oid = c.relnamespace left join pg_constraint k on k.conindid = i.indexrelid
       and k.contype in ('p', 'u', 'x')
 where {_SCHEMAS} order by i.indrelid, x.relname
"""  # noqa: S608 - of this module's own constants
_TRIGGERS = f"""
select t.tgrelid, t.tgname, pg_get_triggerdef(t.oid)
  from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
 where not t.tgisinternal and {_SCHEMAS} order by t.tgrelid, t.tgname
"""  # noqa: S608 - of this module's own constants
_IDENTITY = """
select current_database(), pg_is_in_recovery(),
       (select reset_val::bool from pg_settings where name = 'default_transaction_read_only'),
       array(select unnest(current_schemas(false))::text)
"""
_LONG = """
select pid, coalesce(usename::text, backend_type) || coalesce(', ' || nullif(application_name, ''), ''),
       extract(epoch from clock_timestamp() - xact_start)::float8, coalesce(state, '')
  from pg_stat_activity
 where datname = current_database() and xact_start < clock_timestamp() - make_interval(secs => %s)
   and pid <> pg_backend_pid() and backend_type in ('client backend', 'autovacuum worker')
 order by xact_start
"""
_MONITORS = "select pg_has_role('pg_monitor', 'usage')"
_WAITING = r"select count(*) from pg_ls_archive_statusdir() where name ~ '^[0-9A-F]{24}\.ready$'"
# Source: GitLab, health_status/indicators/write_ahead_log.rb; with the server's own size of a segment.
_WAITING_BY_NAMES = r"""
with seen as (
    select pg_walfile_name(pg_current_wal_insert_lsn()) as newest, last_archived_wal as archived,
           4294967296 / pg_size_bytes(current_setting('wal_segment_size')) as a_log
      from pg_stat_archiver where last_archived_wal ~ '^[0-9A-F]{24}$')
select ((('x' || substr(newest, 9, 8))::bit(32)::bigint - ('x' || substr(archived, 9, 8))::bit(32)::bigint) * a_log
        + ('x' || substr(newest, 17, 8))::bit(32)::bigint - ('x' || substr(archived, 17, 8))::bit(32)::bigint)::bigint
  from seen
"""
_ARCHIVES = "select current_setting('archive_mode') <> 'off'"
_VACUUMING = """
select distinct v.relid::regclass::text from pg_stat_progress_vacuum v join pg_stat_activity a using (pid)
 where a.backend_type = 'autovacuum worker' and v.relid = any(%s::regclass[])
"""
_LAG = """
select coalesce(max(case when replay_lsn < pg_current_wal_lsn() then extract(epoch from replay_lag) end), 0)::float8
  from pg_stat_replication where state in ('streaming', 'catchup')
"""
_LATENCY = """
select coalesce(sum(total_exec_time), 0)::float8, coalesce(sum(calls), 0)::bigint from pg_stat_statements
 where dbid = (select oid from pg_database where datname = current_database())
   and userid <> (select oid from pg_roles where rolname = current_user)
"""
_FUNCTIONS = re.compile(r":(?:funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+)")
_TREE = "select ev_action::text from pg_rewrite where ev_class = 'pg_temp.slipway_probe'::regclass"
_VOLATILE = """
select p.oid::regprocedure::text from pg_proc p
 where p.oid = any(%s::oid[])
   and (p.provolatile = 'v' or (p.proname = any(%s) and p.pronamespace = 'pg_catalog'::regnamespace))
 order by 1
"""
_VALUE_FUNCTIONS = "{SQLVALUEFUNCTION "


class Looks:
    """Looks at one database.

    Args:
        sessions: opens connections.
        data_folder: of the server, where that is on this machine; None where it is not.
    """

    def __init__(self, sessions: Sessions, data_folder: Path | None) -> None:
        self._sessions, self._data_folder = sessions, data_folder
        self._statements: tuple[float, int] | None = None

    def observe(self) -> Observed:
        """Return what is there now; nothing is changed."""
        with self._sessions.reading() as session, session.transaction():
            database, standby, read_only, path = _one(session, _IDENTITY)
            identity = Identity(database, system_id(session), standby, read_only)
            catalogue = _catalogue(session, tuple(path))
            attempts = store.attempts(session, self._sessions.on)
            long = long_transactions(session)
            engine = holder(session)
        free, total = self._disk()
        return Observed(identity, catalogue, attempts, free, total, long, engine)

    def measure(self, tables: Sequence[Table]) -> Measures:
        """Return how the server is just now."""
        free, total = self._disk()
        with self._sessions.reading(10.0) as session:
            monitors = _one(session, _MONITORS) == (True,)
            waiting = _waiting(session) if _one(session, _ARCHIVES) == (True,) else None
            vacuuming, lag_s = None, None
            if monitors:
                names = [str(each) for each in tables]
                vacuuming = tuple(row[0] for row in session.execute(_VACUUMING, [names]).fetchall())
                (lag_s,) = _one(session, _LAG)
            latency = self._latency(session)
        return Measures(waiting, vacuuming, lag_s, latency, free, total)

    def volatile(self, table: Table, expressions: Mapping[str, str]) -> Sequence[str]:
        """Return what in the expressions has another value each time; asked from the server's own parser."""
        picked = ", ".join(f"({each})" for each in expressions.values())
        names = ", ".join(f"c{number}" for number in range(len(expressions)))
        # A view is parsed and never run; and it is gone with the transaction.
        text = f"create temp view slipway_probe ({names}) as select {picked} from {table}"  # noqa: S608
        with self._sessions.connect() as session, translated(self._sessions.on, self._sessions.redact):
            try:
                with session.transaction(force_rollback=True):
                    session.execute("set local lock_timeout = '2s'")
                    session.execute(text.encode())
                    tree = str(_one(session, _TREE)[0])
                    found = [int(each) for each in _FUNCTIONS.findall(tree)]
                    rows = session.execute(_VOLATILE, [found, sorted(_LATER)]).fetchall()
            except psycopg.errors.InsufficientPrivilege:
                raise
            except psycopg.ProgrammingError as error:
                raise Refused(
                    "an expression of a backfill cannot be read",
                    on=f"{self._sessions.on}, {table}",
                    next_action="correct it: it may use the columns of its table",
                    facts={
                        "PostgreSQL says": self._sessions.redact(error.diag.message_primary or str(error)),
                        "expressions": ", ".join(expressions),
                    },
                ) from None
        times = ["current_timestamp or the like"] if _VALUE_FUNCTIONS in tree else []
        return [str(row[0]) for row in rows] + times

    def _disk(self) -> tuple[int | None, int | None]:
        if self._data_folder is None:
            return None, None
        try:
            found = os.statvfs(self._data_folder)
        except OSError as error:
            raise Refused(
                f"the server's data folder cannot be looked at: {error.strerror}",
                on=str(self._data_folder),
                next_action="correct 'data_folder' in the estate file, or leave it out for a server on another machine",
            ) from error
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def _latency(self, session: psycopg.Connection) -> float | None:
        try:
            total, calls = _one(session, _LATENCY)
        except (psycopg.errors.UndefinedTable, psycopg.errors.ObjectNotInPrerequisiteState):
            return None
        before, self._statements = self._statements, (total, calls)
        if before is None or calls <= before[1]:
            return None
        return float((total - before[0]) / (calls - before[1]))


def _waiting(session: psycopg.Connection) -> int | None:
    try:
        return int(_one(session, _WAITING)[0])
    except psycopg.errors.InsufficientPrivilege:
        row = session.execute(_WAITING_BY_NAMES).fetchone()
        return int(row[0]) if row is not None else None


def long_transactions(session: psycopg.Connection) -> tuple[LongTransaction, ...]:
    """Return the transactions that are open for long in the session's database, the oldest first."""
    return tuple(LongTransaction(*row) for row in session.execute(_LONG, [LONG_S]).fetchall())


def system_id(session: psycopg.Connection) -> str:
    """Return the identifier of the session's cluster; '' where the role may not read it."""
    try:
        with session.transaction():
            return str(_one(session, "select system_identifier from pg_control_system()")[0])
    except psycopg.errors.InsufficientPrivilege:
        return ""


def _catalogue(session: psycopg.Connection, path: tuple[str, ...]) -> Catalogue:
    columns = _by_table(session, _COLUMNS, lambda row: Column(*row))
    constraints = _by_table(session, _CONSTRAINTS, _constraint)
    indexes = _by_table(session, _INDEXES, lambda row: Index(row[0], tuple(row[1]), *row[2:]))
    triggers = _by_table(session, _TRIGGERS, lambda row: Trigger(*row))
    relations = {}
    for oid, schema, name, kind, rows, size, parent_schema, parent, secured, comment in session.execute(_RELATIONS):
        relations[schema, name] = Relation(
            schema,
            name,
            kind,
            tuple(columns[oid]),
            tuple(constraints[oid]),
            tuple(indexes[oid]),
            tuple(triggers[oid]),
            rows,
            size,
            (parent_schema, parent) if parent else None,
            secured,
            comment,
        )
    schemas = frozenset(row[0] for row in session.execute("select nspname from pg_namespace").fetchall())
    return Catalogue(session.info.server_version, relations, schemas, path or ("public",))


def _by_table(session: psycopg.Connection, query: str, made: Any) -> defaultdict[int, list[Any]]:
    found: defaultdict[int, list[Any]] = defaultdict(list)
    for oid, *row in session.execute(sql.SQL(query)).fetchall():
        found[oid].append(made(row))
    return found


def _constraint(row: Sequence[Any]) -> Constraint:
    name, kind, columns, definition, validated, schema, table, comment = row
    return Constraint(name, kind, tuple(columns), definition, validated, (schema, table) if table else None, comment)


def _one(session: psycopg.Connection, query: str) -> Any:
    row = session.execute(query.encode()).fetchone()
    assert row is not None, "aggregates and functions return a row"
    return row
