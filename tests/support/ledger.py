"""A ledger on PostgreSQL, and a record to put into it."""

from datetime import UTC, datetime
from pathlib import Path

from blocks.context import Context
from blocks.ledger import PostgresqlLedger
from blocks.secrets import Secrets
from tasks.release.model import Kind, ReleaseRecord

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def open_ledger(folder: Path, address: str) -> PostgresqlLedger:
    """Return a ledger whose address is kept in a file of the folder; nothing is prepared."""
    (folder / "dsn").write_text(address)
    settings = PostgresqlLedger.Settings.model_validate({"dsn": "file:dsn", "connect_timeout": "2s"})
    return PostgresqlLedger(settings, Context(base=folder, secrets=Secrets(folder)))


def record(id_: str = "run-1") -> ReleaseRecord:
    """Return the record of a release that begins."""
    return ReleaseRecord(id_, Kind.RELEASE, "campus", "production", "v1", "0" * 40, "Say hello", "canary", "ada", NOON)
