"""The catalogue of backups on PostgreSQL."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.types.json import Json

from blocks.catalogue_data import (
    found,
    is_gone,
    kept_challenge,
    kept_entry,
    kept_source,
    kept_verification,
    no_such_backup,
    same_backup,
)
from blocks.ledger_data import kept_text, kept_time
from blocks.ledger_database import LedgerDatabase
from tasks.common.backups import BackupKind, Entry, Rung, RungOutcome, StoredBackup, Verification
from tasks.common.challenges import Challenge, Control, Trial, TrialOutcome
from tasks.common.source_facts import DatabaseFacts, SourceFacts

_dumps = partial(json.dumps, ensure_ascii=False, allow_nan=False)

_SELECT = sql.SQL(
    """
    select b.id, b.plan, b.engine, b.repository, b.digest, b.run_id, b.label, b.kind, b.started_at, b.ended_at,
           b.size_bytes, b.stored_bytes, b.needs, b.source_version, b.error, good.ended_at,
           case when good is null or (bad.ended_at, bad.sequence) > (good.ended_at, good.sequence)
                then bad.ended_at end,
           coalesce(h.reason, ''), x.at, coalesce(x.why, '')
      from slipway.backup b
           left join lateral (select ended_at, sequence from slipway.backup_verification
                               where backup_id = b.id and found = 'sound'
                               order by ended_at desc, sequence desc limit 1) good on true
           left join lateral (select ended_at, sequence from slipway.backup_verification
                               where backup_id = b.id and found = 'unsound'
                               order by ended_at desc, sequence desc limit 1) bad on true
           left join lateral (select reason from slipway.backup_hold
                               where backup_id = b.id order by sequence desc limit 1) h on true
           left join slipway.backup_expiry x on x.backup_id = b.id
    """
)
_NEWEST = sql.SQL(" order by b.ended_at desc, b.sequence desc")
_ADD = """
insert into slipway.backup (id, plan, engine, repository, label, kind, started_at, ended_at, size_bytes, stored_bytes,
                            needs, source_version, error, digest, run_id)
values (%(id)s, %(plan)s, %(engine)s, %(repository)s, %(label)s, %(kind)s, %(started_at)s, %(ended_at)s,
        %(size_bytes)s, %(stored_bytes)s, %(needs)s, %(source_version)s, %(error)s, %(digest)s, %(run_id)s)
    on conflict (id) do nothing
"""
# What holds already is not held again; so a run that asks twice leaves one row.
_HOLD = """
insert into slipway.backup_hold (backup_id, reason, held_by, at)
select b.id, %(reason)s, %(by)s, %(at)s from slipway.backup b
 where b.id = %(id)s and not exists (select from slipway.backup_expiry where backup_id = b.id)
   and coalesce((select reason from slipway.backup_hold where backup_id = b.id order by sequence desc limit 1), '')
       <> %(reason)s
"""
_EXPIRE = """
insert into slipway.backup_expiry (backup_id, why, run_id, at) values (%s, %s, %s, %s)
    on conflict (backup_id) do nothing
"""
_NOTE = """
insert into slipway.backup_verification (backup_id, run_id, began_at, ended_at, found, rungs, rpo_s, rto_s)
values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict (backup_id, run_id) do nothing
"""
_SCHEMA = "insert into slipway.backup_schema (digest, objects) values (%s, %s) on conflict (digest) do nothing"
_OBSERVED = """
insert into slipway.backup_source (backup_id, at, steady, facts, schema_digest) values (%s, %s, %s, %s, %s)
    on conflict (backup_id) do nothing
"""
_SOURCE = """
select o.at, o.steady, o.facts, s.objects
  from slipway.backup_source o join slipway.backup_schema s on s.digest = o.schema_digest where o.backup_id = %s
"""
_CHALLENGE = """
insert into slipway.backup_challenge (run_id, plan, backup_id, began_at, ended_at, verdict, controls, trials)
values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict (run_id) do nothing
"""
_UNKNOWN = "it is not known whether this was kept; again does no harm"


class PostgresqlCatalogue:
    """Implements `Catalogue` in the ledger's database. Safe to share between threads.

    Args:
        database: the ledger's, prepared.
    """

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def add(self, entry: Entry) -> None:
        """The entry is kept. *Idempotent:* yes, by its id; the first one stands.

        Raises:
            Refused: another backup has this id, or it cannot be a new one.
            Retryable: the database does not answer.
        """
        kept = kept_entry(entry)
        values = {**vars(kept), **vars(kept.stored), "kind": kept.stored.kind.value, "needs": list(kept.stored.needs)}
        del values["stored"]
        with self._database.session(_UNKNOWN) as connection:
            connection.execute(_ADD, values)
            same_backup(_known(connection, kept.id), kept)

    def entry(self, entry_id: str) -> Entry:
        """Return one entry.

        Raises:
            Refused: there is none of this id; those that come near are named.
            Retryable: the database does not answer.
        """
        with self._database.session("nothing was changed") as connection:
            return _known(connection, kept_text(entry_id))

    def entries(self, plan: str | None = None, *, expired: bool = False) -> tuple[Entry, ...]:
        """Return the entries of a plan, or of all, newest first; those that were removed only where asked for.

        Raises:
            Retryable: the database does not answer.
        """
        wanted = sql.SQL("where (%s::text is null or b.plan = %s)")
        there = sql.SQL("") if expired else sql.SQL(" and x.at is null")
        name = None if plan is None else kept_text(plan)
        with self._database.session("nothing was changed") as connection:
            rows = connection.execute(_SELECT + wanted + there + _NEWEST, [name, name]).fetchall()
        return tuple(map(_entry, rows))

    def hold(self, entry_id: str, reason: str, by: str, at: datetime) -> None:
        """It is not expired until it is let go ('' for the reason). *Idempotent:* yes.

        Raises:
            Refused: no such entry, or it was expired.
            Retryable: the database does not answer.
        """
        values = {
            "id": kept_text(entry_id),
            "reason": kept_text(reason),
            "by": kept_text(by),
            "at": kept_time(at, "at"),
        }
        with self._database.session(_UNKNOWN) as connection:
            connection.execute(_HOLD, values)
            entry = _known(connection, kept_text(entry_id))
        if entry.expired_at is not None:
            raise is_gone(entry)

    def expired(self, entry_id: str, why: str, run_id: str, at: datetime) -> None:
        """It is on record that it was removed, or is about to be. *Idempotent:* yes; the first time stands.

        Raises:
            Refused: no such entry.
            Retryable: the database does not answer.
        """
        self._about(entry_id, _EXPIRE, [kept_text(entry_id), kept_text(why), kept_text(run_id), kept_time(at, "at")])

    def observed(self, entry_id: str, source: SourceFacts) -> None:
        """What its source was when it was taken is kept. *Idempotent:* yes; the first one stands.

        Raises:
            Refused: no such entry, or a naive time.
            Retryable: the database does not answer.
        """
        kept = kept_source(source)
        facts = asdict(kept.facts)
        objects = json.dumps(facts.pop("objects"), sort_keys=True, ensure_ascii=False)
        digest = f"sha256:{hashlib.sha256(objects.encode()).hexdigest()}"
        with self._database.session(_UNKNOWN) as connection:
            connection.execute(_SCHEMA, [digest, objects])
        values = [kept_text(entry_id), kept.at, kept.steady, Json(facts, dumps=_dumps), digest]
        self._about(entry_id, _OBSERVED, values)

    def source_of(self, entry_id: str) -> SourceFacts | None:
        """Return what the source of a backup was when it was taken; None where that is not on record.

        Raises:
            Refused: no such entry.
            Retryable: the database does not answer.
        """
        with self._database.session("nothing was changed") as connection:
            row = connection.execute(_SOURCE, [kept_text(entry_id)]).fetchone()
            if row is None:
                _known(connection, kept_text(entry_id))
                return None
        at, steady, facts, objects = row
        return SourceFacts(at.astimezone(UTC), DatabaseFacts(**facts, objects=objects), steady)

    def note(self, verification: Verification) -> None:
        """The verification is kept. *Idempotent:* yes, by its entry and run; the first one stands.

        Raises:
            Refused: no such entry, or facts that are no JSON data.
            Retryable: the database does not answer.
        """
        kept = kept_verification(verification)
        rungs = Json([{**asdict(rung), "outcome": rung.outcome.value} for rung in kept.rungs], dumps=_dumps)
        values = [kept.entry_id, kept.run_id, kept.began_at, kept.ended_at, found(kept), rungs, kept.rpo_s, kept.rto_s]
        self._about(kept.entry_id, _NOTE, values)

    def verifications(self, plan: str, limit: int) -> tuple[Verification, ...]:
        """Return the latest verifications of a plan's backups, newest first.

        Raises:
            Retryable: the database does not answer.
        """
        with self._database.session("nothing was changed") as connection:
            rows = connection.execute(
                """
                select v.backup_id, v.run_id, v.began_at, v.ended_at, v.rungs, v.rpo_s, v.rto_s
                  from slipway.backup_verification v join slipway.backup b on b.id = v.backup_id
                 where b.plan = %s order by v.ended_at desc, v.sequence desc limit %s
                """,
                [kept_text(plan), limit],
            ).fetchall()
        return tuple(map(_verification, rows))

    def challenged(self, challenge: Challenge) -> None:
        """The challenge is kept. *Idempotent:* yes, by its run; the first one stands.

        Raises:
            Refused: no such backup.
            Retryable: the database does not answer.
        """
        kept = kept_challenge(challenge)
        parts = [Json([asdict(each) for each in some], dumps=_dumps) for some in (kept.controls, kept.trials)]
        values = [kept.run_id, kept.plan, kept.backup_id, kept.began_at, kept.ended_at, kept.verdict.value, *parts]
        self._about(kept.backup_id, _CHALLENGE, values)

    def challenges(self, plan: str, limit: int) -> tuple[Challenge, ...]:
        """Return the latest challenges of a plan's verification, newest first.

        Raises:
            Retryable: the database does not answer.
        """
        with self._database.session("nothing was changed") as connection:
            rows = connection.execute(
                """
                select plan, run_id, backup_id, began_at, ended_at, controls, trials from slipway.backup_challenge
                 where plan = %s order by ended_at desc, sequence desc limit %s
                """,
                [kept_text(plan), limit],
            ).fetchall()
        return tuple(map(_challenge, rows))

    def _about(self, entry_id: str, statement: str, values: Sequence[object]) -> None:
        """A row about an entry is kept."""
        with self._database.session(_UNKNOWN) as connection:
            try:
                connection.execute(statement, values)
            except errors.ForeignKeyViolation:
                raise _no_such(connection, kept_text(entry_id)) from None


def _known(connection: psycopg.Connection, entry_id: str) -> Entry:
    row = connection.execute(_SELECT + sql.SQL("where b.id = %s"), [entry_id]).fetchone()
    if row is None:
        raise _no_such(connection, entry_id)
    return _entry(row)


def _no_such(connection: psycopg.Connection, entry_id: str) -> Exception:
    rows = connection.execute("select id from slipway.backup order by sequence desc limit 10000").fetchall()
    return no_such_backup(entry_id, [each for (each,) in rows])


def _entry(row: tuple[Any, ...]) -> Entry:
    id_, plan, engine, repository, digest, run_id, *stored, verified_at, unsound_at, held, expired_at, why = row
    label, kind, started_at, ended_at, size_bytes, stored_bytes, needs, source_version, error = stored
    return Entry(
        id=id_,
        plan=plan,
        engine=engine,
        repository=repository,
        stored=StoredBackup(
            label=label,
            kind=BackupKind(kind),
            started_at=started_at.astimezone(UTC),
            ended_at=ended_at.astimezone(UTC),
            size_bytes=size_bytes,
            stored_bytes=stored_bytes,
            needs=tuple(needs),
            source_version=source_version,
            error=error,
        ),
        digest=digest,
        run_id=run_id,
        verified_at=_utc(verified_at),
        unsound_at=_utc(unsound_at),
        held=held,
        expired_at=_utc(expired_at),
        expired_why=why,
    )


def _verification(row: tuple[Any, ...]) -> Verification:
    entry_id, run_id, began_at, ended_at, rungs, rpo_s, rto_s = row
    climbed = tuple(Rung(**{**rung, "outcome": RungOutcome(rung["outcome"])}) for rung in rungs)
    return Verification(entry_id, run_id, began_at.astimezone(UTC), ended_at.astimezone(UTC), climbed, rpo_s, rto_s)


def _challenge(row: tuple[Any, ...]) -> Challenge:
    plan, run_id, backup_id, began_at, ended_at, controls, trials = row
    return Challenge(
        plan,
        run_id,
        backup_id,
        began_at.astimezone(UTC),
        ended_at.astimezone(UTC),
        tuple(Control(**each) for each in controls),
        tuple(Trial(**{**each, "outcome": TrialOutcome(each["outcome"])}) for each in trials),
    )


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.astimezone(UTC)
