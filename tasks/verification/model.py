"""The nouns of verification: what was observed of a source and of its restored copy. Never the contents of rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tasks.common.backups import RungOutcome
from tasks.common.source_facts import DatabaseFacts as DatabaseFacts

HEARTBEAT_TABLE = "slipway_heartbeat"
"""Holds a row for each second of the last hour, in the schema public: how new a copy is can be read from it."""


@dataclass(frozen=True)
class Finding:
    """What a look at one rung has found.

    Args:
        outcome: what it means for the backup.
        said: one sentence.
        facts: figures; no contents of rows.
    """

    outcome: RungOutcome
    said: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Moment:
    """Where a source is now.

    Args:
        at: its own clock; aware.
        lsn: how far it has written WAL: '0/3000148'.
        archived_at: when its archiver says that it has stored the last piece of WAL; None for never. Not to be trusted.
    """

    at: datetime
    lsn: str
    archived_at: datetime | None = None


@dataclass(frozen=True)
class SequenceState:
    """A sequence that a column takes its values from.

    Args:
        name: 'public.film_film_id_seq'.
        column: 'public.film.film_id'.
        next_value: what it gives next.
        furthest: largest value of the column, smallest for a sequence that counts down; None where it has no rows.
        increment: its step.
    """

    name: str
    column: str
    next_value: int
    furthest: int | None
    increment: int = 1


@dataclass(frozen=True)
class Orphans:
    """Rows that a foreign key forbids.

    Args:
        constraint: 'public.rental rental_customer_id_fkey'.
        count: of rows whose key leads nowhere.
        keys: a few of those keys.
    """

    constraint: str
    count: int
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replayed:
    """A copy that has answered once; or that was read to its end, where nothing is to be started.

    Args:
        replay_s: from the server's start, or the beginning of the load, until it took connections.
        first_query_s: how long the first answer took.
        version: of the server that has answered.
        fence: how it is kept from the network.
        fenced: whether the kernel keeps it from the network from now on.
        found: what came back, where it is no server: '12 files, 3 MiB'.
    """

    replay_s: float
    first_query_s: float
    version: str
    fence: str
    fenced: bool
    found: str = ""


@dataclass(frozen=True)
class Checked:
    """What a program has found in a copy.

    Args:
        problems: one sentence each, the first ones of many.
        count: how many there are.
        looked_at: figures: {'blocks': 2048}.
        left_out: why nothing could be looked at; '' where it was.
    """

    problems: tuple[str, ...] = ()
    count: int = 0
    looked_at: Mapping[str, int] = field(default_factory=dict)
    left_out: str = ""
