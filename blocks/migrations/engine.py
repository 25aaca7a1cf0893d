"""The engine in PostgreSQL: each step with its row of the history in one transaction, under the mutex."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import errors

from blocks.migrations import store
from blocks.migrations.expecting import SHOWN, not_trusted
from blocks.migrations.filling import Filling, Page
from blocks.migrations.indexes import Indexes
from blocks.migrations.meaning import translated
from blocks.migrations.sessions import Mutex, Sessions
from tasks.common.errors import Refused
from tasks.common.migrations import PHASES, MigrationState, Phase
from tasks.migration.locks import lock_timeout_ms, statement_timeout_ms
from tasks.migration.model import (
    Backfill,
    BuildIndex,
    Check,
    Compiled,
    Ddl,
    DropIndex,
    Expect,
    Limits,
    Step,
    ValidateConstraint,
    quoted,
)
from tasks.migration.ports import BackfillSeen, BatchDone, Spot, TooSlow

_LOCAL = (
    "select set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true), set_config(%s, %s, true)"
)
_ENDED = "update slipway.migrations set ended_at = clock_timestamp() where id = %s"
_CLAIM = "select id, state, done, past_return from slipway.migrations where name = %s and state <> 'undone' for update"
_STEP = "select state, undone from slipway.migration_steps where migration = %s and phase = %s and number = %s"
_BEGIN_STEP = """
insert into slipway.migration_steps (migration, phase, number, what, state, run_id) values (%s, %s, %s, %s, 'begun', %s)
on conflict do nothing
"""
_END_STEP = """
insert into slipway.migration_steps as s (migration, phase, number, what, state, run_id, rows, over, seconds, ended_at)
values (%(id)s, %(phase)s, %(number)s, %(what)s, 'done', %(run)s, %(rows)s, 0, %(seconds)s, clock_timestamp())
on conflict (migration, phase, number) do update
   set state = 'done', rows = excluded.rows, seconds = s.seconds + excluded.seconds, ended_at = excluded.ended_at,
       run_id = excluded.run_id, undone = 0
"""


@dataclass(frozen=True)
class _Row:
    """The history's row of a migration, locked by our transaction."""

    id: int
    state: str
    done: str | None
    past_return: bool


Expectation = Callable[[Expect], None]
"""Checks a suite; raises Refused where it is not met."""


class PostgresqlEngine:
    """Implements `Engine`.

    Args:
        sessions: opens connections.
        mutex: that we hold.
        run_id: the flow run.
        volatile: what in expressions has another value each time.
        expect: checks a suite of expectations.
    """

    def __init__(self, sessions: Sessions, mutex: Mutex, run_id: str, volatile: Any, expect: Expectation) -> None:
        self._sessions, self._mutex, self._run_id = sessions, mutex, run_id
        self._volatile, self._expect = volatile, expect
        self._connection = sessions.connect(run_id)
        with translated(sessions.on, sessions.redact):
            store.prepare(self._connection, sessions.on)

    def close(self) -> None:
        """Its connection is closed."""
        self._connection.close()

    def begin(self, compiled: Compiled, backup: str, run_id: str) -> None:
        """The migration is under way on record. *Idempotent:* yes."""
        with translated(self._on(compiled.name), self._sessions.redact), self._connection.transaction():
            self._mutex.require(self._connection)
            row = self._connection.execute(_CLAIM, [compiled.name]).fetchone()
            if row is None:
                store.add(self._connection, compiled, backup, run_id)
                return
            if row[1] not in ("under way", "failed"):
                raise Refused(
                    f"the migration is {row[1]}",
                    on=self._on(compiled.name),
                    next_action="look at 'slipway migration status'",
                )
            self._change(row[0], state="under way", problem="", backup=backup or None)

    def note(self, name: str, *, backup: str = "", accepted: str = "") -> None:
        """What was asked before a phase is on record. *Idempotent:* yes."""
        with translated(self._on(name), self._sessions.redact), self._claimed(name) as row:
            self._change(
                row.id,
                run_id=self._run_id,
                backup=backup or None,
                accepted=self._sessions.redact(accepted) or None,
            )

    def run(self, at: Spot, step: Step, limits: Limits, left_s: float) -> int:
        """The step is done and on record. *Idempotent:* yes."""
        if self._is_done(at):
            return 0
        self._pass_return(at)
        match step:
            case Ddl() | ValidateConstraint():
                return self._in_transaction(at, step, limits, left_s)
            case BuildIndex() | DropIndex():
                begun_s = time.monotonic()
                fresh = self._note_begun(at, step)
                self._outside(at, step, fresh, left_s)
                self._note_done(at, step, time.monotonic() - begun_s)
                return 0
            case Check():
                begun_s = time.monotonic()
                self._check(at, step, left_s)
                self._note_done(at, step, time.monotonic() - begun_s)
                return 0
            case Expect():
                begun_s = time.monotonic()
                self._expect(step)
                self._note_done(at, step, time.monotonic() - begun_s)
                return 0
        raise AssertionError("a backfill is run by its batches")

    def open_backfill(self, at: Spot, step: Backfill) -> BackfillSeen:
        """It is on record up to which key it goes. *Idempotent:* yes."""
        self._pass_return(at)
        self._note_begun(at, step)
        filling = Filling(self._connection, self._on(str(at)), self._volatile)
        with translated(self._on(str(at)), self._sessions.redact):
            found = filling.found(at)
            made = filling.plan(step) if found is None else None
            with self._claimed(at.name, 5000, 60_000) as row:
                if made is not None:
                    filling.keep(row.id, at, made)
                return filling.seen(row.id, at)

    def batch(self, at: Spot, step: Backfill, size: int, limits: Limits) -> BatchDone:
        """The next rows are changed, and the cursor is behind them, in one transaction."""
        begun_s = time.monotonic()
        filling = Filling(self._connection, self._on(str(at)), self._volatile)
        state = "the batch was rolled back; those before it stay, and are on record"
        with translated(self._on(str(at)), self._sessions.redact, state):
            try:
                # What it holds, users wait for: it is ended when they would wait for longer than for DDL.
                with self._claimed(at.name, limits.lock_timeout_ms, limits.lock_timeout_ms) as row:
                    page: Page = filling.next_page(row.id, at, step, size)
                    seconds = time.monotonic() - begun_s
                    filling.advance(row.id, at, page, size, seconds, self._run_id)
            except errors.QueryCanceled as error:
                raise TooSlow(
                    f"a batch of {size} rows took longer than {limits.lock_timeout_ms} ms, which users may wait for",
                    on=self._on(str(at)),
                    state=state,
                    next_action="a smaller batch is tried; if none is small enough, raise 'lock_timeout'",
                    facts={"PostgreSQL says": error.diag.message_primary or ""},
                ) from None
        return BatchDone(page.over, page.changed, time.monotonic() - begun_s, page.last)

    def end_phase(self, name: str, phase: Phase) -> None:
        """All of the phase is done on record. *Idempotent:* yes."""
        with translated(self._on(name), self._sessions.redact), self._claimed(name) as row:
            if phase is PHASES[-1]:
                self._change(row.id, done=str(phase), state=MigrationState.APPLIED, run_id=self._run_id)
                self._connection.execute(_ENDED, [row.id])
            else:
                self._change(row.id, done=str(phase), state=MigrationState.UNDER_WAY, run_id=self._run_id)

    def begin_undo(self, name: str, keep: Phase | None, run_id: str) -> None:
        """It is on record that the migration is being undone, and how far. *Idempotent:* yes."""
        with translated(self._on(name), self._sessions.redact), self._claimed(name) as row:
            if row.past_return:
                raise Refused(
                    "its point of no return is passed",
                    on=self._on(name),
                    next_action="write a new migration that brings the old shape back, or restore the backup",
                )
            self._change(row.id, state=MigrationState.UNDOING, run_id=run_id, done=keep)

    def undo(self, at: Spot, position: int, step: Step, limits: Limits) -> int:
        """One step of what takes a step back is done and on record. *Idempotent:* yes."""
        on = self._on(f"undo of {at}")
        if isinstance(step, BuildIndex | DropIndex):
            self._outside(at, step, False, limits.phase_s)
            with translated(on, self._sessions.redact), self._claimed(at.name) as row:
                self._note_undone(row.id, at, position)
            return 0
        if not isinstance(step, Ddl):
            raise Refused("this cannot be part of an undo", on=on, next_action="use DDL and concurrent index steps")
        with (
            translated(on, self._sessions.redact),
            self._claimed(at.name, limits.lock_timeout_ms, statement_timeout_ms(step, limits.phase_s)) as row,
        ):
            rows = self._statements(step)
            self._note_undone(row.id, at, position)
        return rows

    def end_undo(self, name: str, keep: Phase | None) -> None:
        """It is on record that the migration is undone. *Idempotent:* yes."""
        with translated(self._on(name), self._sessions.redact), self._claimed(name) as row:
            if keep is None:
                self._change(row.id, state="undone", run_id=self._run_id, done=None)
                return
            later = [str(each) for each in PHASES[PHASES.index(keep) + 1 :]]
            for table, column in (("migration_batches", "phase"), ("migration_steps", "phase")):
                self._connection.execute(
                    f"delete from slipway.{table} where migration = %s and {column} = any(%s)".encode(),  # noqa: S608
                    [row.id, later],
                )
            self._change(row.id, state=MigrationState.UNDER_WAY, run_id=self._run_id, done=str(keep))

    def fail(self, name: str, problem: str) -> None:
        """The migration has failed on record. *Idempotent:* yes."""
        with translated(self._on(name), self._sessions.redact), self._claimed(name) as row:
            # What is half undone must be undone to its end before anything else: it is not applied from there.
            state = row.state if row.state == MigrationState.UNDOING else MigrationState.FAILED
            self._change(row.id, state=state, problem=self._sessions.redact(problem))

    @contextmanager
    def _claimed(self, name: str, lock_ms: int = 5000, statement_ms: int = 60_000) -> Iterator[_Row]:
        """A transaction in which the history's row is ours, and the mutex still is.

        Another engine that thinks so, too, waits for the row, and then sees what we have committed.
        """
        with self._connection.transaction():
            settings = [f"{lock_ms}ms", f"{statement_ms}ms", "slipway.migration", name]
            self._connection.execute(_LOCAL, settings)
            row = self._connection.execute(_CLAIM, [name]).fetchone()
            self._mutex.require(self._connection)
            if row is None:
                raise Refused(
                    "nothing of the migration is on record", on=self._on(name), next_action="observe again, then begin"
                )
            yield _Row(*row)

    def _in_transaction(self, at: Spot, step: Ddl | ValidateConstraint, limits: Limits, left_s: float) -> int:
        begun_s = time.monotonic()
        timeouts = lock_timeout_ms(step, limits), statement_timeout_ms(step, left_s)
        with translated(self._on(str(at)), self._sessions.redact), self._claimed(at.name, *timeouts) as row:
            if isinstance(step, Ddl):
                rows = self._statements(step)
            else:
                self._connection.execute(
                    f"alter table {step.table} validate constraint {quoted(step.constraint)}".encode()
                )
                rows = 0
            self._end_step(row.id, at, step, rows, time.monotonic() - begun_s)
        return rows

    def _statements(self, step: Ddl) -> int:
        """Return the rows that data statements among them have changed."""
        rows = 0
        for each in step.statements:
            # As bytes: psycopg would take a % for a placeholder's.
            cursor = self._connection.execute(each.encode())
            words = (cursor.statusmessage or "").split()
            rows += max(cursor.rowcount, 0) if words[:1] in (["INSERT"], ["UPDATE"], ["DELETE"], ["MERGE"]) else 0
        return rows

    def _outside(self, at: Spot, step: BuildIndex | DropIndex, fresh: bool, left_s: float) -> None:
        indexes = Indexes(self._connection, self._on(str(at)), statement_timeout_ms(step, left_s))
        state = "what was built in part is INVALID and serves nobody; the next run builds it again"
        with translated(self._on(str(at)), self._sessions.redact, state):
            if isinstance(step, BuildIndex):
                indexes.build(step, fresh)
            else:
                indexes.drop(step.schema_, step.index)

    def _check(self, at: Spot, step: Check, left_s: float) -> None:
        on = self._on(str(at))
        with translated(on, self._sessions.redact), self._connection.transaction():
            self._mutex.require(self._connection)
            self._connection.execute("set transaction read only")
            self._connection.execute(f"set local statement_timeout = {statement_timeout_ms(step, left_s)}".encode())
            with self._connection.cursor(name="slipway_check") as cursor:
                cursor.execute(step.query.encode())
                rows = cursor.fetchmany(SHOWN + 1)
        if not rows:
            return
        shown = [self._sessions.redact(", ".join(map(str, row))) for row in rows]
        raise not_trusted(f"a check has found what must not be: {step.says}", on, "rows found", shown)

    def _is_done(self, at: Spot) -> bool:
        with translated(self._on(str(at)), self._sessions.redact), self._claimed(at.name) as row:
            found = self._connection.execute(_STEP, [row.id, at.phase, at.number]).fetchone()
        return found is not None and found[0] == "done"

    def _pass_return(self, at: Spot) -> None:
        """It is on record, before the first step behind it, that the point of no return is passed."""
        with translated(self._on(str(at)), self._sessions.redact), self._claimed(at.name) as row:
            self._connection.execute(
                "update slipway.migrations set past_return = true where id = %s and not past_return"
                " and array_position(%s, no_return) <= array_position(%s, %s::text)",
                [row.id, [str(each) for each in PHASES], [str(each) for each in PHASES], str(at.phase)],
            )

    def _note_begun(self, at: Spot, step: Step) -> bool:
        """Return whether it was not begun before."""
        with translated(self._on(str(at)), self._sessions.redact), self._claimed(at.name) as row:
            cursor = self._connection.execute(
                _BEGIN_STEP, [row.id, at.phase, at.number, step.what or step.kind, self._run_id]
            )
            return cursor.rowcount == 1

    def _note_done(self, at: Spot, step: Step, seconds: float) -> None:
        with translated(self._on(str(at)), self._sessions.redact), self._claimed(at.name) as row:
            self._end_step(row.id, at, step, 0, seconds)

    def _end_step(self, id_: int, at: Spot, step: Step, rows: int, seconds: float) -> None:
        what = step.what or step.kind
        values = {"id": id_, "phase": at.phase, "number": at.number, "what": what, "run": self._run_id}
        self._connection.execute(_END_STEP, {**values, "rows": rows, "seconds": seconds})

    def _note_undone(self, id_: int, at: Spot, position: int) -> None:
        self._connection.execute(
            "update slipway.migration_steps set undone = greatest(undone, %s)"
            " where migration = %s and phase = %s and number = %s",
            [position + 1, id_, at.phase, at.number],
        )

    def _change(self, id_: int, **columns: Any) -> None:
        given = {name: value for name, value in columns.items() if name == "done" or value is not None}
        parts = ", ".join(f"{name} = %({name})s" for name in given)
        text = f"update slipway.migrations set {parts}, changed_at = clock_timestamp() where id = %(id)s"  # noqa: S608
        self._connection.execute(text.encode(), {**given, "id": id_})

    def _on(self, what: str) -> str:
        return f"{what} in {self._sessions.on}"
