"""Deliveries of webhooks on PostgreSQL."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from psycopg import sql
from psycopg.types.json import Json

from blocks.delivery_data import as_kept, repeated, settled
from blocks.ledger_data import kept_text, kept_time
from blocks.ledger_database import LedgerDatabase
from tasks.common.delivery import Delivery, Event, Report, Reported, Start, Status, Told
from tasks.common.webhooks import Happening

_COLUMNS = sql.SQL(
    """
    select d.id, d.source, d.event_id, d.event_name, d.happening, d.repository, d.ref, d.commit, d.actor,
           d.received_at, d.status, d.why, d.flow, d.parameters, d.action, e.run_id, e.refused
    """
)
_SELECT = _COLUMNS + sql.SQL("from slipway.delivery d left join slipway.delivery_end e on e.delivery_id = d.id ")
_UNREPORTED = _COLUMNS + sql.SQL(
    """
         , r.number, r.state, r.at, r.refused
      from slipway.delivery_end e join slipway.delivery d on d.id = e.delivery_id
           left join lateral (select number, state, at, refused from slipway.delivery_report
                               where delivery_id = d.id order by number desc limit 1) r on true
     where d.source = any(%(sources)s) and e.refused = '' and e.at > %(since)s
       and (r.state is null or r.state in ('pending', 'waiting'))
     order by d.sequence desc limit %(limit)s
    """
)
_KEEP = """
with kept as (
    insert into slipway.delivery (id, source, event_id, event_name, happening, repository, ref, commit, actor,
                                  received_at, status, why, flow, parameters, action)
    values (%(id)s, %(source)s, %(event_id)s, %(event_name)s, %(happening)s, %(repository)s, %(ref)s, %(commit)s,
            %(actor)s, %(received_at)s, %(status)s, %(why)s, %(flow)s, %(parameters)s, %(action)s)
    on conflict do nothing returning id, sequence, status
), queued as (
    insert into slipway.delivery_waiting (sequence, delivery_id)
    select sequence, id from kept where status = 'waiting'
)
select id from kept
"""
_SETTLE = """
with gone as (delete from slipway.delivery_waiting where delivery_id = %(id)s)
insert into slipway.delivery_end (delivery_id, at, run_id, refused)
values (%(id)s, clock_timestamp(), %(run_id)s, %(refused)s) on conflict (delivery_id) do nothing
"""
_TELL = """
insert into slipway.delivery_report (delivery_id, number, at, state, refused) values (%s, %s, %s, %s, %s)
    on conflict do nothing
"""


class PostgresqlDeliveries:
    """Implements `Deliveries` in the ledger's database. Safe to share between threads.

    Args:
        database: the ledger's, prepared.
    """

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def keep(self, delivery: Delivery) -> Delivery:
        """The delivery is kept; returns it as it is kept now. *Idempotent:* yes.

        Raises:
            Retryable: the database does not answer; nothing is lost if it is sent again.
        """
        with self._database.session("it is not known whether the delivery was kept; again does no harm") as connection:
            for _ in range(2):
                if connection.execute(_KEEP, _row(delivery)).fetchone():
                    return as_kept(delivery)
                same = sql.SQL("where d.source = %s and d.event_id = %s")
                values = [kept_text(delivery.source), kept_text(delivery.event.id)]
                if kept := connection.execute(_SELECT + same, values).fetchone():
                    return _delivery(kept)
                # Then it is the run that was asked for before.
                assert delivery.start is not None
                asked = sql.SQL("where d.action = %s")
                first = connection.execute(_SELECT + asked, [delivery.start.action]).fetchone()
                assert first is not None
                delivery = repeated(delivery, _delivery(first))
        raise AssertionError("a delivery that asks for nothing is kept")

    def waiting(self, limit: int) -> tuple[Delivery, ...]:
        """Return those whose runs are not started yet, in the order in which they were kept.

        Raises:
            Retryable: the database does not answer.
        """
        tail = sql.SQL("join slipway.delivery_waiting w on w.delivery_id = d.id order by w.sequence limit %s")
        return self._read(tail, limit)

    def settle(self, delivery_id: str, *, run_id: str = "", refused: str = "") -> None:
        """The delivery has started a run, or was refused one. *Idempotent:* yes; the first word stands.

        Raises:
            Retryable: the database does not answer; the run's key lets it be started once only.
        """
        values = {"id": kept_text(delivery_id), "run_id": kept_text(run_id), "refused": kept_text(refused)}
        with self._database.session("it is not known whether this was kept; again does no harm") as connection:
            connection.execute(_SETTLE, values)

    def latest(self, limit: int) -> tuple[Delivery, ...]:
        """Return the latest ones, newest first.

        Raises:
            Retryable: the database does not answer.
        """
        return self._read(sql.SQL("order by d.sequence desc limit %s"), limit)

    def find(self, delivery_id: str) -> Delivery | None:
        """Return one of them; None where there is none.

        Raises:
            Retryable: the database does not answer.
        """
        found = self._read(sql.SQL("where d.id = %s"), kept_text(delivery_id))
        return found[0] if found else None

    def unreported(self, sources: Collection[str], since: datetime, limit: int) -> tuple[Reported, ...]:
        """Return deliveries of these sources whose runs' ends were not told, in the order in which they were kept.

        Raises:
            Retryable: the database does not answer.
        """
        values = {"sources": list(sources), "since": kept_time(since, "since"), "limit": limit}
        with self._database.session("nothing was changed") as connection:
            rows = connection.execute(_UNREPORTED, values).fetchall()
        return tuple(Reported(_delivery(row[:-4]), _report(*row[-4:])) for row in reversed(rows))

    def note_report(self, delivery_id: str, report: Report) -> None:
        """What a forge was told is on record. *Idempotent:* yes, by its number; the first word stands.

        Raises:
            Retryable: the database does not answer.
        """
        told = [report.number, kept_time(report.at, "at"), report.state.value, kept_text(report.refused)]
        with self._database.session("it is not known whether this was kept; again does no harm") as connection:
            connection.execute(_TELL, [kept_text(delivery_id), *told])

    def _read(self, tail: sql.SQL, value: object) -> tuple[Delivery, ...]:
        with self._database.session("nothing was changed") as connection:
            return tuple(_delivery(row) for row in connection.execute(_SELECT + tail, [value]).fetchall())


def _row(delivery: Delivery) -> dict[str, object]:
    event, start = delivery.event, delivery.start
    texts = {
        "id": delivery.id,
        "source": delivery.source,
        "event_id": event.id,
        "event_name": event.name,
        "repository": event.repository,
        "ref": event.ref,
        "commit": event.commit,
        "actor": event.actor,
        "why": delivery.why,
    }
    return {
        **{name: kept_text(text) for name, text in texts.items()},
        "happening": event.happening.value if event.happening else None,
        "received_at": kept_time(delivery.received_at, "received_at"),
        "status": delivery.status.value,
        "flow": start.flow if start else None,
        "parameters": Json({k: kept_text(v) for k, v in start.parameters.items()}, dumps=json.dumps) if start else None,
        "action": start.action if start else None,
    }


def _delivery(row: tuple[Any, ...]) -> Delivery:
    id_, source, event_id, name, happening, repository, ref, commit, actor, at, status, why, *asked = row
    flow, parameters, action, run_id, refused = asked
    kept = Delivery(
        id=id_,
        source=source,
        event=Event(event_id, name, Happening(happening) if happening else None, repository, ref, commit, actor),
        received_at=at.astimezone(UTC),
        start=Start(flow, parameters, action) if flow else None,
        status=Status(status),
        why=why,
    )
    return kept if run_id is None else settled(kept, run_id, refused)


def _report(number: int | None, state: str | None, at: datetime | None, refused: str | None) -> Report | None:
    if number is None or state is None or at is None:
        return None
    return Report(number, Told(state), at.astimezone(UTC), refused or "")
