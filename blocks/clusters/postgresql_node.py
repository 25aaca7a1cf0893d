"""One PostgreSQL server of a cluster, asked directly: whether it takes writes, and how far it is."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.conninfo import make_conninfo

ANSWER_WITHIN_S = 2.0
# Whoever receives knows which timeline. A standby that receives nothing now may have no checkpoint yet of the timeline
# that it is on: the segment of the log that it has reached tells. Only then: one that was rewound may still have
# segments of the history that it has left.
_QUERY = """
with here as (
  select pg_is_in_recovery() as standby,
    case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
      else pg_current_wal_lsn() end as lsn
), reached as (
  select standby, pg_wal_lsn_diff(lsn, '0/0')::bigint as lsn,
    (pg_wal_lsn_diff(lsn, '0/0')::bigint - 1) / pg_size_bytes(current_setting('wal_segment_size')) as segment,
    4294967296 / pg_size_bytes(current_setting('wal_segment_size')) as per_log
  from here
)
select not standby, lsn,
  case when receiver.status = 'streaming' then receiver.received_tli
    when standby then greatest(receiver.received_tli, checkpoint.timeline_id, (
      select max(('x' || left(name, 8))::bit(32)::int) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'
      and substr(name, 9) = upper(lpad(to_hex(segment / per_log), 8, '0') || lpad(to_hex(segment % per_log), 8, '0'))
    )) else ('x' || substr(pg_walfile_name('0/0'::pg_lsn + lsn), 1, 8))::bit(32)::int end,
  control.system_identifier::text,
  coalesce(receiver.status = 'streaming', false),
  pg_last_xact_replay_timestamp(),
  greatest(0, extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()))::float8
from reached, pg_control_checkpoint() checkpoint, pg_control_system() control
left join pg_stat_wal_receiver receiver on true
"""
_HISTORY = "select pg_read_file('pg_wal/' || lpad(upper(to_hex(%s::int)), 8, '0') || '.history', 0, 1048576, true)"


@dataclass(frozen=True)
class Said:
    """What a server says of itself.

    Args:
        writable: whether it takes writes.
        lsn: how far it has written, or received and can replay, in bytes.
        timeline: of its history.
        system_id: PostgreSQL's system identifier.
        streaming: whether it receives from another server now.
        replayed_at: when the last transaction that it has replayed was committed; aware; None for none.
        replayed_age_s: how long ago that is, by its own clock.
    """

    writable: bool
    lsn: int
    timeline: int
    system_id: str
    streaming: bool
    replayed_at: datetime | None
    replayed_age_s: float | None


async def ask(address: str, host: str, port: int) -> Said | None:
    """Return what the server says; None where it does not, or not within two seconds.

    Args:
        address: user, password and database, as libpq reads them.
        host: the server's.
        port: and on which port.
    """
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S), await _connect(address, host, port) as connection:
            row = await (await connection.execute(_QUERY)).fetchone()
    except (psycopg.Error, OSError, TimeoutError):
        return None
    return Said(*row) if row is not None else None


async def history(address: str, host: str, port: int, timeline: int) -> str:
    """Return the history file of a server's timeline; '' for the first one.

    Raises:
        psycopg.Error, OSError, TimeoutError: it does not say.
    """
    if timeline == 1:
        return ""
    async with asyncio.timeout(ANSWER_WITHIN_S), await _connect(address, host, port) as connection:
        row = await (await connection.execute(_HISTORY, [timeline])).fetchone()
    return str(row[0]) if row is not None and row[0] is not None else ""


def parted_at(history_file: str, theirs: int, ours: int, lsn: int) -> int | None:
    """Return where a server's history has parted from ours; None where all that we have is in it.

    Args:
        history_file: of their timeline.
        theirs: their timeline.
        ours: our timeline.
        lsn: how far we are on ours, in bytes.

    *Source:* PostgreSQL, timeline.c: each line names a timeline, and the position at which the next one left it.
    """
    if ours == theirs:
        return None
    for line in history_file.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0].isdecimal() and int(fields[0]) == ours:
            left_at = position(fields[1])
            return left_at if lsn > left_at else None
    return 0


def position(text: str) -> int:
    """Return a position in the log, '0/5000028', in bytes."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


async def _connect(address: str, host: str, port: int) -> psycopg.AsyncConnection:
    place = make_conninfo(address, host=host, port=port, connect_timeout=2, application_name="slipway")
    return await psycopg.AsyncConnection.connect(place, autocommit=True)
