"""What is in a database: compared are a source, as it was when a backup of it was taken or is now, and its copy."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class DatabaseFacts:
    """What is in one database, the heartbeat left out. Never the contents of rows.

    Args:
        name: the database's.
        version: its server's: '15.18'.
        size_bytes: what it takes.
        checksums: whether its pages have checksums.
        extensions: version by name.
        objects: digest of each object's definition: {'table public.film': '3f1c...'}.
        rows: of each table; None where there was no time to count.
    """

    name: str
    version: str
    size_bytes: int
    checksums: bool
    extensions: Mapping[str, str]
    objects: Mapping[str, str]
    rows: Mapping[str, int | None]


@dataclass(frozen=True)
class SourceFacts:
    """What a source was while a backup of it was taken.

    Args:
        at: when it was looked at; aware.
        facts: what was in it.
        steady: whether its schema was the same before and after. If not, nobody knows which one the backup has.
    """

    at: datetime
    facts: DatabaseFacts
    steady: bool
