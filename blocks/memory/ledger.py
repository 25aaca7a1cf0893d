"""A ledger that forgets when its process ends: for dry runs and tests."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from threading import Lock

from blocks.context import Context
from blocks.ledger_data import (
    check_outcome,
    ended_otherwise,
    kept_evidence,
    kept_record,
    kept_text,
    kept_time,
    no_such_record,
    the_one,
)
from blocks.memory.catalogue import MemoryCatalogue
from blocks.memory.deliveries import MemoryDeliveries
from blocks.memory.drill_notes import MemoryDrillNotes
from blocks.memory.leases import MemoryLeases
from blocks.memory.moves import MemoryMoves
from blocks.memory.restores import MemoryRestores
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.release.model import Evidence, Outcome, ReleaseRecord


class MemoryLedger:
    """Implements `Ledger`; each object is a ledger of its own. Safe to share between threads."""

    class Settings(StrictModel):
        """There is nothing to set."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings, context
        self._lock = Lock()
        self._records: dict[str, ReleaseRecord] = {}
        self._evidence: dict[str, list[Evidence]] = {}
        self._answers: dict[str, tuple[float | None, ...]] = {}
        self._leases = MemoryLeases()
        self._deliveries = MemoryDeliveries()
        self._catalogue = MemoryCatalogue()
        self._restores = MemoryRestores()
        self._moves = MemoryMoves()
        self._drills = MemoryDrillNotes()

    @property
    def leases(self) -> MemoryLeases:
        """Return the leases that are kept beside the evidence."""
        return self._leases

    @property
    def deliveries(self) -> MemoryDeliveries:
        """Return the deliveries that are kept beside the evidence."""
        return self._deliveries

    @property
    def catalogue(self) -> MemoryCatalogue:
        """Return the catalogue of backups that is kept beside the evidence."""
        return self._catalogue

    @property
    def restores(self) -> MemoryRestores:
        """Return what is on record of restores, beside the evidence."""
        return self._restores

    @property
    def moves(self) -> MemoryMoves:
        """Return what is on record of moves between sites, beside the evidence."""
        return self._moves

    @property
    def drills(self) -> MemoryDrillNotes:
        """Return what is on record of drills, beside the evidence."""
        return self._drills

    def prepare(self) -> None:
        """There is nothing to prepare. *Idempotent:* yes."""

    def begin(self, record: ReleaseRecord) -> None:
        """The record exists. *Idempotent:* yes, by its id; the first one stands.

        Raises:
            Refused: it has an outcome already, or its time is naive.
        """
        kept = kept_record(record)
        with self._lock:
            self._records.setdefault(kept.id, kept)

    def append(self, evidence: Evidence) -> None:
        """The evidence is kept, in order. *Idempotent:* no.

        Raises:
            Refused: no such record, or facts that are no JSON data.
        """
        kept = kept_evidence(evidence)
        with self._lock:
            if kept.record_id not in self._records:
                raise no_such_record(evidence.record_id)
            self._evidence.setdefault(kept.record_id, []).append(kept)

    def end(self, record_id: str, outcome: Outcome, at: datetime, error: str | None, digest: str | None) -> None:
        """The record has its outcome. *Idempotent:* yes: the first outcome stands; another one is refused.

        Raises:
            Refused: no such record, or it ended otherwise.
        """
        check_outcome(record_id, outcome)
        ended_at = kept_time(at, "at")
        with self._lock:
            record = self._records.get(kept_text(record_id))
            if record is None:
                raise no_such_record(record_id)
            if record.outcome is Outcome.RUNNING:
                self._records[record.id] = replace(
                    record,
                    outcome=outcome,
                    ended_at=ended_at,
                    error=None if error is None else kept_text(error),
                    digest=record.digest if digest is None else digest,
                )
            elif record.outcome is not outcome:
                raise ended_otherwise(record_id, record.outcome, outcome)

    def record(self, record_id: str) -> ReleaseRecord:
        """Return one record; a unique prefix of its id is enough.

        Raises:
            Refused: none or several match.
        """
        prefix = kept_text(record_id)
        with self._lock:
            return the_one(prefix, [self._records[id_] for id_ in sorted(self._records) if id_.startswith(prefix)])

    def records(self, service: str | None, environment: str | None, limit: int) -> tuple[ReleaseRecord, ...]:
        """Return the latest records, newest first."""
        return tuple(
            record
            for record in self._newest_first()
            if service in (None, record.service) and environment in (None, record.environment)
        )[:limit]

    def evidence(self, record_id: str) -> tuple[Evidence, ...]:
        """Return what was appended for a record, in order."""
        with self._lock:
            return tuple(deepcopy(self._evidence.get(kept_text(record_id), [])))

    def succeeded(self, service: str, environment: str, limit: int) -> tuple[ReleaseRecord, ...]:
        """Return the latest successful records with different releases, newest first."""
        latest: dict[str, ReleaseRecord] = {}
        for record in self._newest_first():
            if (record.service, record.environment, record.outcome) == (service, environment, Outcome.SUCCEEDED):
                latest.setdefault(record.release, record)
        return tuple(latest.values())[:limit]

    def answer(self, sql: str, *rows: float | None) -> None:
        """The SQL returns these rows from now on. *Idempotent:* yes; what was set before is replaced."""
        self._answers[sql] = rows

    def figure(self, sql: str, parameters: Mapping[str, str]) -> float | None:
        """Return the number that was set with `answer`; None where there is none (no row, null, NaN, infinite).

        Raises:
            Refused: nobody has set an answer, or one of several rows.
        """
        del parameters
        rows = self._answers.get(sql)
        if rows is None or len(rows) > 1:
            what = "this ledger cannot read SQL" if rows is None else "the SQL returns several rows"
            raise Refused(f"{what}; it must return one number", on=sql, next_action="set its answer with 'answer'")
        return rows[0] if rows and rows[0] is not None and math.isfinite(rows[0]) else None

    def _newest_first(self) -> list[ReleaseRecord]:
        with self._lock:
            begun = list(self._records.values())
        # Sorted, then reversed: of two records with the same start the one that was begun later comes first.
        return sorted(begun, key=lambda record: record.started_at)[::-1]
