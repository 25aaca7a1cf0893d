"""What is on record of restores, on PostgreSQL."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from functools import partial

from psycopg.types.json import Json

from blocks.ledger_data import kept_facts, kept_text, kept_time
from blocks.ledger_database import LedgerDatabase
from tasks.common.errors import Refused
from tasks.common.restores import RestoreNote

_dumps = partial(json.dumps, ensure_ascii=False, allow_nan=False)
_NOTE = """
insert into slipway.restore_note (run_id, plan, target, kind, at, facts)
values (%(run_id)s, %(plan)s, %(target)s, %(kind)s, %(at)s, %(facts)s) on conflict (run_id, kind) do nothing
"""
# A range and not 'like': nothing to escape, and the index serves it under any plan.
_NOTES = """
select run_id, plan, target, kind, at, facts from slipway.restore_note
 where run_id >= %s and run_id <= %s order by run_id, sequence
"""


class PostgresqlRestores:
    """Implements `Restores` in the ledger's database. Safe to share between threads.

    Args:
        database: the ledger's, prepared.
    """

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def note(self, note: RestoreNote) -> None:
        """It is kept. *Idempotent:* yes, by its run and kind; the first one stands.

        Raises:
            Refused: its facts are no JSON data, or its time is naive.
            Retryable: the database does not answer.
        """
        kept = kept_note(note)
        with self._database.session("it is not known whether this was kept; again does no harm") as connection:
            connection.execute(_NOTE, {**vars(kept), "facts": Json(kept.facts, dumps=_dumps)})

    def notes(self, run_id: str) -> Sequence[RestoreNote]:
        """Return what is on record of a run, in order; the beginning of its id is enough.

        Raises:
            Refused: several runs begin so.
            Retryable: the database does not answer.
        """
        prefix = kept_text(run_id)
        with self._database.session("nothing was changed") as connection:
            rows = connection.execute(_NOTES, [prefix, prefix + chr(0x10FFFF)]).fetchall()
        return of_one_run(
            prefix,
            [
                RestoreNote(run, plan, target, kind, at.astimezone(UTC), facts)
                for run, plan, target, kind, at, facts in rows
            ],
        )


def kept_note(note: RestoreNote) -> RestoreNote:
    """Return the note as it is kept.

    Raises:
        Refused: its facts are no JSON data, or its time is naive.
    """
    texts = {name: kept_text(getattr(note, name)) for name in ("run_id", "plan", "target", "kind")}
    return replace(note, **texts, at=kept_time(note.at, "at"), facts=kept_facts(note.facts))


def of_one_run(prefix: str, notes: Sequence[RestoreNote]) -> Sequence[RestoreNote]:
    """Return the notes, which are of one run.

    Raises:
        Refused: they are of several.
    """
    runs = sorted({each.run_id for each in notes})
    if len(runs) > 1:
        raise Refused(
            f"{len(runs)} restores begin with {prefix!r}",
            on="the ledger",
            next_action="give more of the id",
            facts={"among them": ", ".join(runs[:3])},
        )
    return notes
