"""The ledger on PostgreSQL: what was done, by which run, and how it ended. Rows are added and never changed."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from psycopg import errors, sql
from psycopg.types.json import Json
from pydantic import Field

from blocks.catalogue import PostgresqlCatalogue
from blocks.context import Context
from blocks.deliveries import PostgresqlDeliveries
from blocks.drills.notes import PostgresqlDrillNotes
from blocks.leases import PostgresqlLeases
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
from blocks.ledger_database import LedgerDatabase
from blocks.ledger_figures import figure
from blocks.ledger_migrations import migrate
from blocks.moves import PostgresqlMoves
from blocks.restores import PostgresqlRestores
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import Duration
from tasks.release.model import Evidence, Kind, Outcome, ReleaseRecord

_dumps = partial(json.dumps, ensure_ascii=False, allow_nan=False)

_RECORDS = sql.SQL(
    """
    select r.id, r.kind, r.service, r.environment, r.release, r.commit, r.subject, r.strategy, r.requested_by,
           r.started_at, coalesce(e.outcome, 'running'), coalesce(e.digest, r.digest), e.ended_at, e.error
      from slipway.release_record r left join slipway.release_end e on e.record_id = r.id
     where {condition}
     order by {order}
     limit {limit}
    """
)
_NEWEST = sql.SQL("r.started_at desc, r.sequence desc")
# Not 'distinct on': that reads every success there ever was, this stops at the limit.
_LATEST_SUCCESS = """
    r.service = %s and r.environment = %s and e.outcome = 'succeeded' and not exists (
        select from slipway.release_record newer join slipway.release_end its on its.record_id = newer.id
         where newer.service = r.service and newer.environment = r.environment and newer.release = r.release
           and (newer.started_at, newer.sequence) > (r.started_at, r.sequence) and its.outcome = 'succeeded')
"""


class PostgresqlLedger:
    """Implements `Ledger` in the schema `slipway` of a PostgreSQL database. Safe to share between threads.

    Each call opens a connection of its own: a few milliseconds, for which a restarted or failed-over server, a forked
    process and a connection that nobody closed are no cases to think of.
    """

    class Settings(StrictModel):
        """Where the database is.

        With several hosts in the address, add `target_session_attrs=read-write`, so that a failover is followed.
        """

        dsn: SecretRef = Field(description="reference to 'postgresql://USER:PASSWORD@HOST/DATABASE'")
        connect_timeout_s: Duration = Field(default=10.0, alias="connect_timeout", ge=2)

    def __init__(self, settings: Settings, context: Context) -> None:
        self._database = LedgerDatabase(settings.dsn, settings.connect_timeout_s, context.secrets)

    @property
    def leases(self) -> PostgresqlLeases:
        """Return the leases that are kept beside the evidence."""
        return PostgresqlLeases(self._database)

    @property
    def deliveries(self) -> PostgresqlDeliveries:
        """Return the deliveries that are kept beside the evidence."""
        return PostgresqlDeliveries(self._database)

    @property
    def catalogue(self) -> PostgresqlCatalogue:
        """Return the catalogue of backups that is kept beside the evidence."""
        return PostgresqlCatalogue(self._database)

    @property
    def restores(self) -> PostgresqlRestores:
        """Return what is on record of restores, beside the evidence."""
        return PostgresqlRestores(self._database)

    @property
    def moves(self) -> PostgresqlMoves:
        """Return what is on record of moves between sites, beside the evidence."""
        return PostgresqlMoves(self._database)

    @property
    def drills(self) -> PostgresqlDrillNotes:
        """Return what is on record of drills, beside the evidence."""
        return PostgresqlDrillNotes(self._database)

    def prepare(self) -> None:
        """The ledger's tables exist and are of this version. *Idempotent:* yes; safe to call from several processes.

        Raises:
            Refused: an applied migration was edited, the tables are of a newer version, or the role may not create.
            Retryable: the database does not answer; nothing was changed.
        """
        with self._database.session(
            "it is not known whether the tables were prepared; again does no harm"
        ) as connection:
            migrate(connection)

    def begin(self, record: ReleaseRecord) -> None:
        """The record exists. *Idempotent:* yes, by its id; the first one stands.

        Raises:
            Refused: it has an outcome already, or its time is naive.
            Retryable: the database does not answer.
        """
        kept = kept_record(record)
        with self._database.session("it is not known whether the record was begun; again does no harm") as connection:
            connection.execute(
                """
                insert into slipway.release_record (id, kind, service, environment, release, commit, subject,
                                                    strategy, requested_by, started_at, digest)
                values (%(id)s, %(kind)s, %(service)s, %(environment)s, %(release)s, %(commit)s, %(subject)s,
                        %(strategy)s, %(requested_by)s, %(started_at)s, %(digest)s) on conflict (id) do nothing
                """,
                {**vars(kept), "kind": kept.kind.value},
            )

    def append(self, evidence: Evidence) -> None:
        """The evidence is kept, in order. *Idempotent:* no.

        After a Retryable whose state says that it is not known, the evidence may be there. Append it again: a fact that
        is there twice, with the same time to the microsecond, does less harm than one that is missing.

        Raises:
            Refused: no such record, or facts that are no JSON data.
            Retryable: the database does not answer.
        """
        kept = kept_evidence(evidence)
        with self._database.session("it is not known whether this evidence was kept") as connection:
            try:
                connection.execute(
                    """
                    insert into slipway.evidence (record_id, kind, name, at, facts, duration_s)
                    values (%(record_id)s, %(kind)s, %(name)s, %(at)s, %(facts)s, %(duration_s)s)
                    """,
                    {**vars(kept), "facts": Json(kept.facts, dumps=_dumps)},
                )
            except errors.ForeignKeyViolation:
                raise no_such_record(evidence.record_id) from None

    def end(self, record_id: str, outcome: Outcome, at: datetime, error: str | None, digest: str | None) -> None:
        """The record has its outcome. *Idempotent:* yes: the first outcome stands; another one is refused.

        Raises:
            Refused: no such record, or it ended otherwise.
            Retryable: the database does not answer.
        """
        check_outcome(record_id, outcome)
        ended_at = kept_time(at, "at")
        text = None if error is None else kept_text(error)
        id_ = kept_text(record_id)
        with self._database.session("it is not known whether the end was kept; again does no harm") as connection:
            try:
                connection.execute(
                    """
                    insert into slipway.release_end (record_id, outcome, ended_at, error, digest)
                    values (%s, %s, %s, %s, %s) on conflict (record_id) do nothing
                    """,
                    [id_, str(outcome), ended_at, text, digest],
                )
            except errors.ForeignKeyViolation:
                raise no_such_record(record_id) from None
            row = connection.execute("select outcome from slipway.release_end where record_id = %s", [id_]).fetchone()
        assert row is not None
        if row[0] != outcome:
            raise ended_otherwise(record_id, Outcome(row[0]), outcome)

    def record(self, record_id: str) -> ReleaseRecord:
        """Return one record; a unique prefix of its id is enough.

        Raises:
            Refused: none or several match.
            Retryable: the database does not answer.
        """
        prefix = kept_text(record_id)
        # A range and not 'like': nothing to escape, and the index serves it under any plan.
        found = self._select("r.id >= %s and r.id <= %s", [prefix, prefix + chr(0x10FFFF)], sql.SQL("r.id"), 3)
        return the_one(prefix, list(found))

    def records(self, service: str | None, environment: str | None, limit: int) -> tuple[ReleaseRecord, ...]:
        """Return the latest records, newest first.

        Raises:
            Retryable: the database does not answer.
        """
        wanted = {"r.service = %s": service, "r.environment = %s": environment}
        given = {condition: kept_text(value) for condition, value in wanted.items() if value is not None}
        return self._select(" and ".join(given) or "true", list(given.values()), _NEWEST, limit)

    def evidence(self, record_id: str) -> tuple[Evidence, ...]:
        """Return what was appended for a record, in order.

        Raises:
            Retryable: the database does not answer.
        """
        with self._database.session("nothing was changed") as connection:
            rows = connection.execute(
                """
                select record_id, kind, name, at, facts, duration_s
                  from slipway.evidence where record_id = %s order by sequence
                """,
                [kept_text(record_id)],
            ).fetchall()
        return tuple(
            Evidence(owner, kind, name, at.astimezone(UTC), facts, duration_s)
            for owner, kind, name, at, facts, duration_s in rows
        )

    def succeeded(self, service: str, environment: str, limit: int) -> tuple[ReleaseRecord, ...]:
        """Return the latest successful records with different releases, newest first: what can be rolled back to.

        Raises:
            Retryable: the database does not answer.
        """
        return self._select(_LATEST_SUCCESS, [kept_text(service), kept_text(environment)], _NEWEST, limit)

    def figure(self, sql: str, parameters: Mapping[str, str]) -> float | None:
        """Return the number that one SELECT returns; None where there is none. Nothing can be changed by it.

        Raises:
            Retryable: the database does not answer, or not within 10 s.
            Refused: it is no single SELECT, would change something, or returns anything but one number.
        """
        return figure(self._database, sql, parameters)

    def _select(
        self, condition: str, values: Sequence[object], order: sql.SQL, limit: int
    ) -> tuple[ReleaseRecord, ...]:
        query = _RECORDS.format(condition=sql.SQL(condition), order=order, limit=limit)
        with self._database.session("nothing was changed") as connection:
            return tuple(_record(row) for row in connection.execute(query, values).fetchall())


def _record(row: tuple[Any, ...]) -> ReleaseRecord:
    id_, kind, *texts, started_at, outcome, digest, ended_at, error = row
    service, environment, release, commit, subject, strategy, requested_by = texts
    return ReleaseRecord(
        id=id_,
        kind=Kind(kind),
        service=service,
        environment=environment,
        release=release,
        commit=commit,
        subject=subject,
        strategy=strategy,
        requested_by=requested_by,
        started_at=started_at.astimezone(UTC),
        outcome=Outcome(outcome),
        digest=digest,
        ended_at=None if ended_at is None else ended_at.astimezone(UTC),
        error=error,
    )
