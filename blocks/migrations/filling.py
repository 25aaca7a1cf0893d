"""A backfill in PostgreSQL: which rows come next, and the cursor that is committed with them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import psycopg
from psycopg.types.json import Jsonb

from tasks.common.errors import Refused
from tasks.migration.batching import NEWEST, Sample
from tasks.migration.model import Backfill, Table, quoted
from tasks.migration.ports import BackfillSeen, Spot
from tasks.migration.sql import tokens

_KEYS = """
select array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality as u(num, place)
               join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.num
              where u.place <= i.indnkeyatts order by u.place)
  from pg_index i
 where i.indrelid = %s::regclass and i.indisunique and i.indisvalid and i.indpred is null
   and i.indimmediate and not 0 = any(i.indkey::int2[])
   and not exists (select from unnest(i.indkey::int2[]) with ordinality as u(num, place)
                     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.num
                    where u.place <= i.indnkeyatts and not a.attnotnull)
 order by i.indisprimary desc, i.indnkeyatts, i.indexrelid
"""
_TYPES = """
select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a
 where a.attrelid = %s::regclass and a.attname = any(%s)
"""
_ESTIMATE = "select greatest(reltuples, 0)::bigint from pg_class where oid = %s::regclass"
_STATE = """
select s.filling, s.cursor, s.state, s.over, s.rows
  from slipway.migration_steps s where s.migration = %s and s.phase = %s and s.number = %s
"""
_NEWEST = """
select seconds, over, changed, size from slipway.migration_batches
 where migration = %s and phase = %s and step = %s order by number desc limit %s
"""
_ADVANCE = """
update slipway.migration_steps
   set cursor = %(upto)s, over = over + %(over)s, rows = rows + %(changed)s, seconds = seconds + %(seconds)s,
       state = case when %(last)s then 'done' else 'begun' end,
       ended_at = case when %(last)s then clock_timestamp() end, run_id = %(run)s
 where migration = %(id)s and phase = %(phase)s and number = %(number)s
"""
_ADD = """
insert into slipway.migration_batches (migration, phase, step, number, upto, size, over, changed, seconds, run_id)
select %(id)s, %(phase)s, %(number)s, coalesce(max(number), 0) + 1, %(upto)s, %(size)s, %(over)s, %(changed)s,
       %(seconds)s, %(run)s
  from slipway.migration_batches where migration = %(id)s and phase = %(phase)s and step = %(number)s
"""
_HERE = """
select s.filling from slipway.migration_steps s join slipway.migrations m on m.id = s.migration
 where m.name = %s and m.state <> 'undone' and s.phase = %s and s.number = %s
"""

Volatile = Callable[[Table, Mapping[str, str]], Sequence[str]]


@dataclass(frozen=True)
class Planned:
    """How far a backfill goes, decided when it began and never again.

    Args:
        key: its columns.
        types: of them.
        bound: the largest key there was; None where there was no row.
        rows: estimate.
        guarded: whether rows that were changed have to fall out of its condition.
    """

    key: list[str]
    types: list[str]
    bound: list[str] | None
    rows: int
    guarded: bool


@dataclass(frozen=True)
class Page:
    """What one batch has done.

    Args:
        upto: the key that the cursor stands on now.
        over: rows that it has gone over.
        changed: rows that it has changed.
        last: whether there are no more.
    """

    upto: list[str]
    over: int
    changed: int
    last: bool


class Filling:
    """Finds and changes rows.

    Args:
        connection: of the engine.
        on: for errors.
        volatile: what in expressions has another value each time.
    """

    def __init__(self, connection: psycopg.Connection, on: str, volatile: Volatile) -> None:
        self._connection, self._on, self._volatile = connection, on, volatile

    def found(self, at: Spot) -> Planned | None:
        """Return what was decided when it began; None where nothing was."""
        row = self._connection.execute(_HERE, [at.name, at.phase, at.number]).fetchone()
        return Planned(**row[0]) if row is not None and row[0] is not None else None

    def plan(self, step: Backfill) -> Planned:
        """Return how far it goes.

        Raises:
            Refused: nothing can be its key; or it could not be repeated, and nothing guards it.
        """
        guarded = self._guarded(step)
        key = self._key(step)
        types = dict[str, str](self._connection.execute(_TYPES, [str(step.table), key]).fetchall())
        names = _as_text(key)
        backwards = ", ".join(f"{quoted(each)} desc" for each in key)
        query = f"select {names} from {step.table} order by {backwards} limit 1"  # noqa: S608 - of quoted names
        last = self._connection.execute(query.encode()).fetchone()
        estimate = self._connection.execute(_ESTIMATE, [str(step.table)]).fetchone()
        rows = int(estimate[0]) if estimate else 0
        return Planned(key, [types[each] for each in key], list(last) if last else None, rows, guarded)

    def keep(self, id_: int, at: Spot, planned: Planned) -> None:
        """It is on record, unless something was before. *Idempotent:* yes."""
        done = "done" if planned.bound is None else "begun"
        self._connection.execute(
            "update slipway.migration_steps set filling = %s, state = %s,"
            " ended_at = case when %s = 'done' then clock_timestamp() end"
            " where migration = %s and phase = %s and number = %s and filling is null",
            [Jsonb(asdict(planned)), done, done, id_, at.phase, at.number],
        )

    def seen(self, id_: int, at: Spot) -> BackfillSeen:
        """Return how far it has come."""
        planned, _, state, over, changed = self._state(id_, at)
        rows = self._connection.execute(_NEWEST, [id_, at.phase, at.number, NEWEST]).fetchall()
        newest = tuple(Sample(seconds, gone, done) for seconds, gone, done, _ in rows)
        size = rows[0][3] if rows else 0
        return BackfillSeen(tuple(planned.key), planned.rows, over, changed, size, state == "done", newest)

    def next_page(self, id_: int, at: Spot, step: Backfill, size: int) -> Page:
        """The next rows are changed; the caller's transaction commits them with the cursor."""
        planned, cursor, state, _, _ = self._state(id_, at)
        if state == "done" or planned.bound is None:
            return Page(cursor or [], 0, 0, True)
        after, over = self._upto(step, planned, cursor, size)
        last = after is None or after == planned.bound
        upto = planned.bound if after is None else after
        names = "(" + ", ".join(quoted(each) for each in planned.key) + ")"
        condition = f"{names} <= {_row(planned.types)}" + (f" and {names} > {_row(planned.types)}" if cursor else "")
        values = [*upto, *(cursor or [])]
        sets = ", ".join(f"{quoted(column)} = ({each})" for column, each in step.set_.items())
        where = f" and ({step.where})" if step.where else ""
        # A % in an expression is no placeholder.
        text = f"update {step.table} set {_escaped(sets)} where {condition}{_escaped(where)}"  # noqa: S608
        if not planned.guarded:
            changed = self._connection.execute(text.encode(), values).rowcount
            return Page(upto, over, changed, last)
        again = f" returning coalesce(({_escaped(step.where)}), false) as again"
        counts = f"with changed as ({text}{again}) select count(*), count(*) filter (where again) from changed"  # noqa: S608
        row = self._connection.execute(counts.encode(), values).fetchone()
        assert row is not None, "an aggregate returns a row"
        if row[1]:
            raise self._not_repeatable(step, f"{row[1]} rows that were filled still meet its 'where'")
        return Page(upto, over, row[0], last)

    def advance(self, id_: int, at: Spot, page: Page, size: int, seconds: float, run_id: str) -> None:
        """The cursor stands behind the page, in the caller's transaction."""
        values = {"id": id_, "phase": at.phase, "number": at.number, "upto": page.upto, "over": page.over}
        values |= {"changed": page.changed, "seconds": seconds, "last": page.last, "run": run_id, "size": size}
        self._connection.execute(_ADVANCE, values)
        self._connection.execute(_ADD, values)

    def _upto(
        self, step: Backfill, planned: Planned, cursor: list[str] | None, size: int
    ) -> tuple[list[str] | None, int]:
        """Return the key of the last row of the next page, and how many it has; no key where the page is the last."""
        assert planned.bound is not None, "there are rows"
        plain = ", ".join(quoted(each) for each in planned.key)
        text = _as_text(planned.key)
        condition = f"({plain}) <= {_row(planned.types)}"
        condition += f" and ({plain}) > {_row(planned.types)}" if cursor else ""
        values = [*planned.bound, *(cursor or [])]
        query = f"select {text} from {step.table} where {condition} order by {plain} offset {size - 1} limit 1"  # noqa: S608
        row = self._connection.execute(query.encode(), values).fetchone()
        if row is not None:
            return list(row), size
        counted = f"select count(*) from {step.table} where {condition}"  # noqa: S608 - of quoted names
        left = self._connection.execute(counted.encode(), values).fetchone()
        return None, int(left[0]) if left else 0

    def _state(self, id_: int, at: Spot) -> tuple[Planned, list[str] | None, str, int, int]:
        row = self._connection.execute(_STATE, [id_, at.phase, at.number]).fetchone()
        if row is None or row[0] is None:
            raise Refused("the backfill was not opened", on=self._on, next_action="run the migration again")
        return Planned(**row[0]), row[1], row[2], row[3], row[4]

    def _key(self, step: Backfill) -> list[str]:
        found = [list(row[0]) for row in self._connection.execute(_KEYS, [str(step.table)]).fetchall()]
        if step.key and list(step.key) in found:
            return list(step.key)
        if not step.key and found:
            return found[0]
        raise Refused(
            f"{step.table} has no unique index over ({', '.join(step.key)}) whose columns are NOT NULL"
            if step.key
            else f"{step.table} has no primary key, and no unique index whose columns are NOT NULL",
            on=self._on,
            next_action="add one before (concurrently), or name another in 'key': batches go by it",
        )

    def _guarded(self, step: Backfill) -> bool:
        """Return whether rows that were changed have to fall out of the condition, as a second time would change them.

        Raises:
            Refused: they have to, and there is no condition; or the condition itself is not repeatable.
        """
        expressions = {f"set {column}": each for column, each in step.set_.items()}
        if step.where and (loose := self._volatile(step.table, {"where": step.where})):
            raise self._not_repeatable(step, f"its 'where' has another value each time: {', '.join(loose)}")
        reasons = list(self._volatile(step.table, expressions))
        for column, each in step.set_.items():
            used = {token.name for token in tokens(each)}
            reasons += [f"{column}, which is made from {other}" for other in sorted(used & set(step.set_))]
        if reasons and not step.where:
            raise self._not_repeatable(step, f"it has another value each time: {', '.join(reasons)}")
        return bool(reasons)

    def _not_repeatable(self, step: Backfill, why: str) -> Refused:
        return Refused(
            f"the backfill of {step.table} could not be repeated: {why}",
            on=self._on,
            state="the batch was rolled back, if it was begun",
            next_action="give it a 'where' that a filled row no longer meets, such as 'full_name is null'",
        )


def _as_text(key: Sequence[str]) -> str:
    # Under names of their own: ORDER BY would take the text for the column, and sort 999 behind 2500.
    return ", ".join(f"{quoted(each)}::text as slipway_key_{number}" for number, each in enumerate(key))


def _row(types: Sequence[str]) -> str:
    return "(" + ", ".join(f"%s::text::{each}" for each in types) + ")"


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
