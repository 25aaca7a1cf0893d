"""Indexes that are built and dropped concurrently: outside of a transaction, and with what was interrupted in mind."""

import time
from dataclasses import dataclass

import psycopg
from psycopg import errors

from tasks.common.errors import Refused, Retryable
from tasks.migration.model import BuildIndex, quoted

_POLL_S = 0.5
_FOUND = """
select x.oid, i.indisvalid and i.indisready, i.indrelid = %(table)s::regclass, n.nspname,
       exists (select from pg_stat_progress_create_index p where p.index_relid = x.oid)
  from pg_class x join pg_namespace n on n.oid = x.relnamespace left join pg_index i on i.indexrelid = x.oid
 where x.relname = %(index)s and x.relnamespace = (select relnamespace from pg_class where oid = %(table)s::regclass)
"""


@dataclass(frozen=True)
class _Found:
    oid: int
    valid: bool | None
    ours: bool | None
    schema: str
    being_built: bool


class Indexes:
    """Builds and drops.

    Args:
        connection: in autocommit mode, outside of a transaction.
        on: for errors.
        within_ms: longest time of a statement.
    """

    def __init__(self, connection: psycopg.Connection, on: str, within_ms: int) -> None:
        self._connection, self._on, self._within_ms = connection, on, within_ms

    def build(self, step: BuildIndex, fresh: bool) -> None:
        """The index is there, and valid. *Idempotent:* yes.

        Args:
            step: which one.
            fresh: whether no earlier try of ours can have made it.

        Raises:
            Refused: something else has its name; or its rows are alike. What was built in part is gone.
            Retryable: somebody else is building it, and has not ended in time.
        """
        self._unhurried()
        found = self._await_builder(step)
        if found is not None and found.valid and found.ours and not fresh:
            return
        if found is not None and (found.valid is not False or not found.ours):
            raise Refused(
                f"something of the name {step.index} is there already",
                on=self._on,
                next_action="give the index another name, or look what made it",
            )
        if found is not None:
            self.drop(found.schema, step.index)
        try:
            self._connection.execute(step.statement.encode())
        except (errors.UniqueViolation, errors.QueryCanceled, errors.LockNotAvailable, errors.DeadlockDetected):
            self._leave_nothing(step)
            raise

    def drop(self, schema: str, index: str) -> None:
        """There is no such index. *Idempotent:* yes."""
        self._unhurried()
        name = f"{quoted(schema)}.{quoted(index)}" if schema else quoted(index)
        self._connection.execute(f"drop index concurrently if exists {name}".encode())

    def _leave_nothing(self, step: BuildIndex) -> None:
        found = self._find(step)
        if found is not None and found.valid is False and found.ours:
            self.drop(found.schema, step.index)

    def _await_builder(self, step: BuildIndex) -> _Found | None:
        """Return what has the name, once nobody builds it any more: a server works on for a client that was killed."""
        deadline = time.monotonic() + self._within_ms / 1000
        while (found := self._find(step)) is not None and found.being_built:
            if time.monotonic() > deadline:
                raise Retryable(
                    f"another session is building {step.index}",
                    on=self._on,
                    next_action="let it end (pg_stat_progress_create_index shows it), then run this again",
                )
            time.sleep(_POLL_S)
        return found

    def _find(self, step: BuildIndex) -> _Found | None:
        row = self._connection.execute(_FOUND, {"table": str(step.table), "index": step.index}).fetchone()
        return _Found(*row) if row is not None else None

    def _unhurried(self) -> None:
        self._connection.execute("set lock_timeout = 0")
        self._connection.execute(f"set statement_timeout = {self._within_ms}".encode())
