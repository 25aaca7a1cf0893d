"""Partitions by ranges of time in PostgreSQL: what there are, and each step of their upkeep under the mutex."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import errors

from blocks.migrations.looking import long_transactions, system_id
from blocks.migrations.meaning import translated
from blocks.migrations.sessions import Mutex, Sessions
from tasks.common.errors import Refused
from tasks.migration.catalogue import Identity
from tasks.migration.locks import statement_timeout_ms
from tasks.migration.model import Ddl, Limits, Table, quoted
from tasks.migration.partition_model import (
    Create,
    Detach,
    Detached,
    Drop,
    KeyType,
    Note,
    Partition,
    Ranged,
    Seen,
    Step,
    bounds_of,
    read_mark,
)
from tasks.migration.ports import TooSlow

_DETACH_WITHIN_S = 300.0
_MOST_STRAYS = 1000
_PARENT = """
select c.oid, n.nspname, c.relname, p.partstrat, p.partnatts, coalesce(a.attname, ''),
       coalesce(format_type(a.atttypid, null), ''), array(
           select w.attname::text from pg_attribute w
            where w.attrelid = c.oid and w.attnum > 0 and not w.attisdropped and w.attgenerated = ''
            order by w.attnum),
       case when c.relowner = current_user::regrole then '' else pg_get_userbyid(c.relowner) end, array(
           select x.relname::text from pg_class x
            where x.relnamespace = c.relnamespace and starts_with(x.relname, left(c.relname, 30)))
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  left join pg_partitioned_table p on p.partrelid = c.oid
  left join pg_attribute a on a.attrelid = c.oid and a.attnum = p.partattrs[0] and a.attnum > 0
 where c.oid = to_regclass(%s)
"""
_PARTITIONS = """
select n.nspname, c.relname, pg_get_expr(c.relpartbound, c.oid),
       coalesce((to_jsonb(i) ->> 'inhdetachpending')::bool, false), coalesce(obj_description(c.oid, 'pg_class'), ''),
       c.reltuples::bigint, case when c.relkind = 'r' then pg_total_relation_size(c.oid) else 0 end
  from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace
 where i.inhparent = %s order by n.nspname, c.relname
"""
_DETACHED = """
select n.nspname, c.relname, obj_description(c.oid, 'pg_class'), c.reltuples::bigint,
       case when c.relkind = 'r' then pg_total_relation_size(c.oid) else 0 end
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') and not c.relispartition
   and starts_with(obj_description(c.oid, 'pg_class'), 'slipway: was a partition of ')
 order by n.nspname, c.relname
"""
_STANDS = """
select i.inhparent = to_regclass(%(parent)s), coalesce((to_jsonb(i) ->> 'inhdetachpending')::bool, false),
       coalesce(obj_description(c.oid, 'pg_class'), '')
  from pg_class c left join pg_inherits i on i.inhrelid = c.oid and c.relispartition
 where c.oid = to_regclass(%(partition)s)
"""
_IDENTITY = """
select current_database(), pg_is_in_recovery(),
       (select reset_val::bool from pg_settings where name = 'default_transaction_read_only'), clock_timestamp()
"""
_DEFAULT = "DEFAULT"


def look(sessions: Sessions, tables: Sequence[str]) -> Seen:
    """Return tables with their partitions, as they are now."""
    with sessions.reading() as session:
        session.execute("set timezone = 'UTC'")
        row = session.execute(_IDENTITY).fetchone()
        assert row is not None, "functions return a row"
        identity = Identity(row[0], system_id(session), row[1], row[2])
        detached = session.execute(_DETACHED).fetchall()
        found = tuple(_ranged(session, each, detached) for each in tables)
        return Seen(identity, session.info.server_version, row[3], found, long_transactions(session))


def strays(sessions: Sessions, seen: Ranged, step: Create) -> int:
    """Return how many rows of a partition that is to be made lie in the default one, 1000 at most."""
    if seen.default is None:
        return 0
    key, at = quoted(seen.key), seen.default.table
    inside = f"select from {at} where {key} >= %s::text::{seen.type} and {key} < %s::text::{seen.type}"
    query = f"select count(*) from ({inside} limit {_MOST_STRAYS}) as found"  # noqa: S608 - of quoted names
    with sessions.reading() as session:
        row = session.execute(query.encode(), [step.lower, step.upper]).fetchone()
        assert row is not None, "an aggregate returns a row"
        return int(row[0])


def _ranged(session: psycopg.Connection, name: str, detached: Sequence[Any]) -> Ranged:
    schema, _, table = name.rpartition(".")
    row = session.execute(_PARENT, [str(Table(name=table, schema_=schema))]).fetchone()
    if row is None:
        action = "make it by a migration, or correct 'partitions' in the estate file"
        return Ranged(name, Table(name=table, schema_=schema), f"there is no table {name}", action)
    oid, schema, table, strategy, keys, key, type_, columns, owner, taken = row
    here = Table(name=table, schema_=schema)
    if strategy != "r" or keys != 1 or not key or type_ not in list(KeyType):
        what = f"{name} is not partitioned by the ranges of one column of type timestamp or date"
        return Ranged(name, here, what, "turn it into such a table by a migration, or take it out of 'partitions'")
    partitions = []
    for one in session.execute(_PARTITIONS, [oid]).fetchall():
        part = _partition(*one)
        if part is None:
            what = f"the bounds of {one[1]} cannot be read: {one[2]}"
            return Ranged(name, here, what, "look after this table by hand, and take it out of 'partitions'")
        partitions.append(part)
    marked = [(Table(name=one[1], schema_=one[0]), read_mark(one[2]), *one[3:]) for one in detached]
    gone = [Detached(at, mark, *rest) for at, mark, *rest in marked if mark is not None and mark.parent == str(here)]
    found = Ranged(name, here, "", "", key, KeyType(type_), tuple(columns), owner)
    return replace(found, partitions=tuple(partitions), detached=tuple(gone), taken=frozenset(taken))


def _partition(
    schema: str, name: str, bound: str, pending: bool, comment: str, rows: int, size: int
) -> Partition | None:
    table = Table(name=name, schema_=schema)
    if bound == _DEFAULT:
        return Partition(table, default=True, pending=pending, comment=comment, rows=rows, size_bytes=size)
    bounds = bounds_of(bound)
    return None if bounds is None else Partition(table, *bounds, False, pending, comment, rows, size)


class PostgresqlKeeper:
    """Implements `Keeper`.

    Args:
        sessions: opens connections.
        mutex: that we hold.
        run_id: the flow run.
    """

    def __init__(self, sessions: Sessions, mutex: Mutex, run_id: str) -> None:
        self._sessions, self._mutex = sessions, mutex
        self._connection = sessions.connect(run_id)

    def close(self) -> None:
        """Its connection is closed."""
        self._connection.close()

    def carry_out(self, step: Step, limits: Limits) -> None:
        """The step is done. *Idempotent:* yes."""
        on = f"{self._sessions.on}, {step.partition}"
        with translated(on, self._sessions.redact):
            try:
                match step:
                    case Detach():
                        self._detach(step, limits, on)
                    case _:
                        self._in_transaction(step, limits, on)
            except errors.DependentObjectsStillExist as error:
                raise _needed(step, on, self._sessions.redact(error.diag.message_detail or "")) from None
            except errors.ForeignKeyViolation as error:
                raise _needed(step, on, self._sessions.redact(error.diag.message_primary or "")) from None

    def _in_transaction(self, step: Create | Note | Drop, limits: Limits, on: str) -> None:
        within_ms = statement_timeout_ms(Ddl(statements=()), limits.phase_s)
        with self._connection.transaction():
            self._settings(limits.lock_timeout_ms, within_ms, local=True)
            self._mutex.require(self._connection)
            if self._is_done(step, on):
                return
            if isinstance(step, Create) and step.beside_default:
                # The default partition is looked through under a lock: users wait for no longer than for a lock.
                self._settings(limits.lock_timeout_ms, limits.lock_timeout_ms, local=True)
            try:
                for each in step.statements:
                    self._connection.execute(each.encode())
            except errors.QueryCanceled:
                if not isinstance(step, Create):
                    raise
                raise _default_is_large(step, limits, on) from None

    def _is_done(self, step: Create | Note | Drop, on: str) -> bool:
        """Return whether nothing is left to do.

        Raises:
            Refused: it is not what was planned any more.
        """
        row = self._stands(step)
        match step:
            case Create():
                if row is not None and not row[0]:
                    raise _changed(step, "something else has its name", on)
                return row is not None
            case Note():
                if row is None or (step.mark.detached_at is not None and row[0]):
                    raise _changed(step, "it is not there" if row is None else "it is a partition", on)
                return str(row[2]) == str(step.mark)
            case Drop():
                if row is None:
                    return True
                mark = read_mark(row[2])
                ours = mark is not None and mark.parent == str(step.parent) and mark.detached_at is not None
                if row[0] is not None or not ours:
                    raise _changed(step, "it is a partition" if ours else "its comment does not say that it left", on)
                return False

    def _detach(self, step: Detach, limits: Limits, on: str) -> None:
        # What an interrupted concurrent one has left is finished. Each try ends as soon as users would wait for it.
        self._settings(limits.lock_timeout_ms, round(_DETACH_WITHIN_S * 1000), local=False)
        self._mutex.require(self._connection)
        row = self._stands(step)
        if row is None:
            raise _changed(step, "it is not there", on)
        if not row[0]:
            return
        statement = step.finish if row[1] else step.statements[0]
        self._connection.execute(statement.encode())

    def _stands(self, step: Step) -> tuple[bool | None, bool, str] | None:
        """Return whether it is a partition of its table (None: of none), pending, and its comment; None: not there."""
        names = {"parent": str(step.parent), "partition": str(step.partition)}
        return self._connection.execute(_STANDS, names).fetchone()

    def _settings(self, lock_ms: int, statement_ms: int, *, local: bool) -> None:
        query = "select set_config('lock_timeout', %s, %s), set_config('statement_timeout', %s, %s)"
        self._connection.execute(query, [f"{lock_ms}ms", local, f"{statement_ms}ms", local])


def _changed(step: Step, what: str, on: str) -> Refused:
    return Refused(
        f"{step.partition.name} is not what it was when this was planned: {what}",
        on=on,
        next_action="run this again: it looks anew",
    )


def _needed(step: Step, on: str, detail: str) -> Refused:
    return Refused(
        f"{step.partition.name} cannot leave: something refers to it or to its rows",
        on=on,
        next_action="take away what refers to it, or have it refer to the whole table; or raise 'keep'",
        facts={"PostgreSQL says": detail},
    )


def _default_is_large(step: Create, limits: Limits, on: str) -> TooSlow:
    return TooSlow(
        f"the default partition is not looked through in the {limits.lock_timeout_ms} ms that users may wait for",
        on=on,
        state="nothing of this partition was made",
        next_action="empty the default partition, or index its key; or make the partition by hand when few are at work",
        facts={"partition": step.partition.name, "from": step.lower, "to": step.upper},
    )
