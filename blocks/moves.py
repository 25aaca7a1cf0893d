"""What is on record of moves between sites, on PostgreSQL."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC
from functools import partial
from typing import Any

from psycopg.types.json import Json

from blocks.ledger_data import kept_facts, kept_text, kept_time
from blocks.ledger_database import LedgerDatabase
from tasks.common.errors import Refused
from tasks.common.moves import MoveNote

_dumps = partial(json.dumps, ensure_ascii=False, allow_nan=False)
_NOTE = """
insert into slipway.move_note (run_id, kind, move_id, failover, at, facts)
values (%(run_id)s, %(kind)s, %(move_id)s, %(failover)s, %(at)s, %(facts)s) on conflict (run_id, kind) do nothing
"""
# A range and not 'like': nothing to escape, and the index serves it under any plan.
_NOTES = """
select move_id, run_id, failover, kind, at, facts from slipway.move_note
 where run_id >= %s and run_id <= %s order by run_id, sequence
"""
_HISTORY = """
with latest as (
    select move_id from slipway.move_note where failover = %(failover)s
     group by move_id order by max(sequence) desc limit %(limit)s
)
select move_id, run_id, failover, kind, at, facts from slipway.move_note join latest using (move_id)
 where failover = %(failover)s order by sequence
"""


class PostgresqlMoves:
    """Implements `Moves` in the ledger's database. Safe to share between threads.

    Args:
        database: the ledger's, prepared.
    """

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def note(self, note: MoveNote) -> None:
        """It is kept. *Idempotent:* yes, by its run and kind; the first one stands.

        Raises:
            Refused: its facts are no JSON data, or its time is naive.
            Retryable: the database does not answer.
        """
        kept = kept_move_note(note)
        with self._database.session("it is not known whether this was kept; again does no harm") as connection:
            connection.execute(_NOTE, {**vars(kept), "facts": Json(kept.facts, dumps=_dumps)})

    def notes(self, run_id: str) -> Sequence[MoveNote]:
        """Return what is on record of a run, in order; the beginning of its id is enough.

        Raises:
            Refused: several runs begin so.
            Retryable: the database does not answer.
        """
        prefix = kept_text(run_id)
        with self._database.session("nothing was changed") as connection:
            rows = connection.execute(_NOTES, [prefix, prefix + chr(0x10FFFF)]).fetchall()
        return of_one_move_run(prefix, _read(rows))

    def history(self, failover: str, limit: int) -> Sequence[MoveNote]:
        """Return all notes of the latest moves of a failover, in order.

        Raises:
            Retryable: the database does not answer.
        """
        with self._database.session("nothing was changed") as connection:
            wanted = {"failover": kept_text(failover), "limit": limit}
            return _read(connection.execute(_HISTORY, wanted).fetchall())


def kept_move_note(note: MoveNote) -> MoveNote:
    """Return the note as it is kept.

    Raises:
        Refused: its facts are no JSON data, or its time is naive.
    """
    texts = {name: kept_text(getattr(note, name)) for name in ("move_id", "run_id", "failover", "kind")}
    return replace(note, **texts, at=kept_time(note.at, "at"), facts=kept_facts(note.facts))


def of_one_move_run(prefix: str, notes: Sequence[MoveNote]) -> Sequence[MoveNote]:
    """Return the notes, which are of one run.

    Raises:
        Refused: they are of several.
    """
    runs = sorted({each.run_id for each in notes})
    if len(runs) > 1:
        raise Refused(
            f"{len(runs)} moves between sites begin with {prefix!r}",
            on="the ledger",
            next_action="give more of the id",
            facts={"among them": ", ".join(runs[:3])},
        )
    return notes


def _read(rows: Iterable[tuple[Any, ...]]) -> Sequence[MoveNote]:
    return [
        MoveNote(move_id, run_id, failover, kind, at.astimezone(UTC), facts)
        for move_id, run_id, failover, kind, at, facts in rows
    ]
