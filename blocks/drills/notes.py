"""What is on record of drills, on PostgreSQL."""

import json
from collections.abc import Sequence
from datetime import UTC
from functools import partial
from typing import Any

from psycopg.types.json import Json

from blocks.ledger_data import kept_facts, kept_text, kept_time
from blocks.ledger_database import LedgerDatabase
from tasks.common.drill_notes import DrillNote
from tasks.common.errors import Refused

_dumps = partial(json.dumps, ensure_ascii=False, allow_nan=False)
_NOTE = """
insert into slipway.drill_note (run_id, kind, number, drill, cluster, at, facts)
values (%(run_id)s, %(kind)s, %(number)s, %(drill)s, %(cluster)s, %(at)s, %(facts)s)
    on conflict (run_id, kind, number) do nothing
"""
# A range and not 'like': nothing to escape, and the index serves it under any plan.
_NOTES = """
select run_id, drill, cluster, kind, at, facts, number from slipway.drill_note
 where run_id >= %s and run_id <= %s order by run_id, sequence
"""
_ENDED = """
select run_id, drill, cluster, kind, at, facts, number from slipway.drill_note
 where kind = 'ended' and (%s::text is null or drill = %s) order by sequence desc limit %s
"""


class PostgresqlDrillNotes:
    """Implements `DrillNotes` in the ledger's database. Safe to share between threads.

    Args:
        database: the ledger's, prepared.
    """

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def note(self, note: DrillNote) -> None:
        """It is kept. *Idempotent:* yes, by its run, kind and number; the first one stands.

        Raises:
            Refused: its facts are no JSON data, or its time is naive.
            Retryable: the database does not answer.
        """
        kept = kept_note(note)
        with self._database.session("it is not known whether this was kept; again does no harm") as connection:
            connection.execute(_NOTE, {**vars(kept), "facts": Json(kept.facts, dumps=_dumps)})

    def notes(self, run_id: str) -> Sequence[DrillNote]:
        """Return what is on record of a run, in order; the beginning of its id is enough.

        Raises:
            Refused: several runs begin so.
            Retryable: the database does not answer.
        """
        prefix = kept_text(run_id)
        with self._database.session("nothing was changed") as connection:
            rows = connection.execute(_NOTES, [prefix, prefix + chr(0x10FFFF)]).fetchall()
        return of_one_run(prefix, list(map(_note, rows)))

    def ended(self, drill: str | None, limit: int) -> Sequence[DrillNote]:
        """Return the ends of the latest drills, newest first.

        Raises:
            Retryable: the database does not answer.
        """
        name = None if drill is None else kept_text(drill)
        with self._database.session("nothing was changed") as connection:
            return list(map(_note, connection.execute(_ENDED, [name, name, limit]).fetchall()))


def _note(row: tuple[Any, ...]) -> DrillNote:
    run_id, drill, cluster, kind, at, facts, number = row
    return DrillNote(run_id, drill, cluster, kind, at.astimezone(UTC), facts, number)


def kept_note(note: DrillNote) -> DrillNote:
    """Return the note as it is kept.

    Raises:
        Refused: its facts are no JSON data, or its time is naive.
    """
    run_id, drill, cluster, kind = map(kept_text, (note.run_id, note.drill, note.cluster, note.kind))
    return DrillNote(run_id, drill, cluster, kind, kept_time(note.at, "at"), kept_facts(note.facts), note.number)


def of_one_run(prefix: str, notes: Sequence[DrillNote]) -> Sequence[DrillNote]:
    """Return the notes, which are of one run.

    Raises:
        Refused: they are of several.
    """
    runs = sorted({each.run_id for each in notes})
    if len(runs) > 1:
        raise Refused(
            f"{len(runs)} drills begin with {prefix!r}",
            on="the ledger",
            next_action="give more of the id",
            facts={"among them": ", ".join(runs[:3])},
        )
    return notes
