"""Brings the ledger's tables to this version. The product's own migration engine will take this over (MIG-2)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tasks.common.errors import Refused

SCHEMA = Path(__file__).parent / "ledger_schema"
"""The ledger's migrations: SQL files, applied in the order of their names."""

# Any number will do that nobody else locks in this database: "slipway" in ASCII.
_LOCK = 0x736C6970776179
_ON = "the ledger's database"
_HISTORY = """
create schema if not exists slipway;
create table slipway.migration_history (
    name text primary key,
    checksum text not null,
    applied_at timestamptz not null default now()
);
"""


@dataclass(frozen=True)
class _Migration:
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrate(connection: psycopg.Connection, folder: Path = SCHEMA) -> tuple[str, ...]:
    """Every migration of the folder is applied; returns the names of those that were not before.

    All of them are applied in one transaction, under a lock that lets one process do it at a time, so that a failure or
    a crash leaves the tables as they were. *Idempotent:* yes.

    Args:
        connection: in autocommit mode, outside a transaction.
        folder: holds the `*.sql` files.

    Raises:
        Refused: an applied migration was edited since, or the database has migrations that this version does not know.
        psycopg.Error: the database does not do it.
    """
    known = [_Migration(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.sql"))]
    # Each statement must see what the process that held the lock before has committed.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        applied = _applied(connection)
        _check(known, applied)
        for migration in known[len(applied) :]:
            connection.execute(migration.text.encode())
            connection.execute(
                "insert into slipway.migration_history (name, checksum) values (%s, %s)",
                [migration.name, migration.checksum],
            )
    return tuple(migration.name for migration in known[len(applied) :])


def _applied(connection: psycopg.Connection) -> dict[str, str]:
    """Return checksums by name, in order; creates the history where there is none."""
    # Asked first: 'if not exists' wants the right to create also where there is nothing to do.
    there = connection.execute("select to_regclass('slipway.migration_history') is not null").fetchone()
    if there != (True,):
        connection.execute(_HISTORY)
    rows = connection.execute('select name, checksum from slipway.migration_history order by name collate "C"')
    return dict[str, str](rows.fetchall())


def _check(known: list[_Migration], applied: dict[str, str]) -> None:
    for migration in known:
        before = applied.get(migration.name, migration.checksum)
        if before != migration.checksum:
            raise Refused(
                f"the migration {migration.name} was edited after it was applied",
                on=_ON,
                next_action="restore the file as it was, and put the change into a new migration",
                facts={"checksum when applied": before, "checksum now": migration.checksum},
            )
    names = [migration.name for migration in known]
    if list(applied) != names[: len(applied)]:
        strange = sorted(set(applied) - set(names))
        missing = sorted(set(names[: len(applied)]) - set(applied))
        raise Refused(
            "the ledger's tables are not of this version of Slipway",
            on=_ON,
            next_action="run the version of Slipway that prepared the ledger, or a newer one",
            facts={"applied, and unknown here": strange or "none", "skipped": missing or "none"},
        )
