"""A ledger with a past: releases with all their evidence, in numbers that no lab comes to by itself."""

import psycopg

from blocks.estate import OpenEstate
from tasks.release.model import ReleaseRecord

_RECORDS = """
    insert into slipway.release_record (id, kind, service, environment, release, commit, subject, strategy,
                                        requested_by, started_at, digest)
    select 'past-' || n, kind, service, environment, left(md5(n::text), 12), md5(n::text), subject, strategy,
           requested_by, started_at - (n + 1) * interval '20 minutes', 'sha256:' || md5(n::text)
      from slipway.release_record, generate_series(1, %(count)s) as n where id = %(model)s
"""
_ENDS = """
    insert into slipway.release_end (record_id, outcome, ended_at, error, digest)
    select 'past-' || n, case when n %% 20 = 0 then 'rolled-back' else 'succeeded' end,
           ended_at - (n + 1) * interval '20 minutes', null, 'sha256:' || md5(n::text)
      from slipway.release_end, generate_series(1, %(count)s) as n where record_id = %(model)s
"""
_EVIDENCE = """
    insert into slipway.evidence (record_id, kind, name, at, facts, duration_s)
    select 'past-' || n, kind, name, at - (n + 1) * interval '20 minutes', facts, duration_s
      from slipway.evidence, generate_series(1, %(count)s) as n where record_id = %(model)s order by n, sequence
"""


def add_past(dsn: str, model: ReleaseRecord, count: int) -> tuple[int, int]:
    """The ledger has `count` more releases, each like the model, before it; returns rows of evidence and bytes.

    One in twenty was turned back. *Idempotent:* no.

    Args:
        dsn: the ledger's address.
        model: a release that has ended, with its evidence.
        count: how many.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in (_RECORDS, _ENDS, _EVIDENCE):
            connection.execute(statement, {"count": count, "model": model.id})
        # Autovacuum would have done so in the months that this past stands for.
        connection.execute("vacuum analyze slipway.release_record, slipway.release_end, slipway.evidence")
        row = connection.execute(
            "select (select count(*) from slipway.evidence), pg_total_relation_size('slipway.evidence')"
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def reads(estate: OpenEstate, record: ReleaseRecord) -> None:
    """Everything that one release reads from the ledger was read once."""
    ledger, service = estate.ledger, record.service
    for environment in estate.file.environments:
        ledger.succeeded(service, environment, estate.file.keep_releases)
    ledger.records(service, None, 1000)
    ledger.record(record.id)
    ledger.evidence(record.id)
