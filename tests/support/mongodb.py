"""MongoDB databases for tests: mongomock, a fake, and a real server where SLIPWAY_TEST_MONGODB_URL names one."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import mongomock
import pytest
from mongomock.store import ServerStore

from blocks.context import Context
from blocks.migrations.mongodb import Client, MongodbMigrations, connect
from blocks.secrets import Secrets

VARIABLE = "SLIPWAY_TEST_MONGODB_URL"
FILES = {
    "0001_full_name/migration.yaml": """
description: one field for the whole name
engine: mongodb
settle: 0s
prepare:
  - operation: create collection
    collection: people
backfill:
  - collection: customer
    set:
      full_name: {$concat: [$first, " ", $last]}
    batch: 7
    pause: 0s
validate:
  - says: unnamed customers
    collection: customer
    pipeline:
      - $match: {full_name: null}
cleanup:
  - operation: drop collection
    collection: old
"""
}


class Server:
    """A server of MongoDB with one database of ours.

    Args:
        connect: opens a client of the address.
        address: of the database.
    """

    def __init__(self, connect: Callable[[str], Client], address: str) -> None:
        self.connect, self.address = connect, address

    @property
    def database(self) -> Any:
        return self.connect(self.address).get_default_database()

    def target(self, folder: Path, **settings: Any) -> MongodbMigrations:
        (folder / "mongodb").write_text(self.address)
        given = MongodbMigrations.Settings.model_validate({"address": "file:mongodb", **settings})
        return MongodbMigrations(given, Context(base=folder, secrets=Secrets(folder)), self.connect)

    def fill(self, rows: int) -> None:
        made = [{"_id": n, "first": f"first{n}", "last": f"last{n}"} for n in range(1, rows + 1)]
        self.database.customer.insert_many(made)


def fake() -> Server:
    """Return a server that mongomock, a fake, plays."""
    store = ServerStore()
    return Server(lambda address: mongomock.MongoClient(address, _store=store), "mongodb://fake/app")


@contextmanager
def real() -> Iterator[Server]:
    """Yield a database of its own on the real server; skips the test where none is named."""
    url = os.environ.get(VARIABLE, "")
    if not url:
        pytest.skip(f"{VARIABLE} names no MongoDB server")
    base, _, options = url.partition("?")
    address = f"{base.rstrip('/')}/slipway_{uuid4().hex[:12]}" + (f"?{options}" if options else "")
    server = Server(connect, address)
    try:
        yield server
    finally:
        server.database.client.drop_database(server.database.name)
