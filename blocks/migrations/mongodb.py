"""A MongoDB database that is migrated."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import Field
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from blocks.context import Context
from blocks.migrations.mongodb_engine import MongodbEngine
from blocks.migrations.mongodb_history import COLLECTION as HISTORY
from blocks.migrations.mongodb_history import UNDONE, attempts
from blocks.migrations.mongodb_lease import COLLECTION as MUTEX
from blocks.migrations.mongodb_lease import EXPIRY_S, Documents, Lease, holder
from blocks.migrations.mongodb_meaning import translated
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import PositiveDuration
from tasks.migration import documents
from tasks.migration.catalogue import Catalogue, Column, Constraint, Identity, Observed, Relation
from tasks.migration.health import Measures
from tasks.migration.model import Table
from tasks.migration.ports import Engine

Client = MongoClient[dict[str, Any]]
_KEY = Constraint("_id_", "primary key", ("_id",), "_id")
_ID = Column("_id", "_id", not_null=True)


def connect(address: str) -> Client:
    """Return a client that writes to a majority and reads from the primary; it connects when it is used.

    Args:
        address: of the database.
    """
    return MongoClient(
        address,
        w="majority",
        readConcernLevel="majority",
        readPreference="primary",
        # Of whatever is not given another limit: a server that no longer answers must not hold us for ever.
        timeoutMS=30_000,
    )


class MongodbMigrations:
    """Implements `MigrationTarget` with the database that an address names.

    Args:
        settings: which one.
        context: resolves the reference.
        client: makes a client of an address.
    """

    class Settings(StrictModel):
        """Settings of the driver `mongodb`."""

        address: SecretRef = Field(description="reference to its address, which names the database")
        lease_s: PositiveDuration = Field(
            default=EXPIRY_S, alias="lease", description="an engine that is dead keeps others out for this long"
        )

    def __init__(self, settings: Settings, context: Context, client: Callable[[str], Client] = connect) -> None:
        self._settings, self._context, self._connect = settings, context, client

    @property
    def on(self) -> str:
        """Return which one it is."""
        return self._settings.address

    def observe(self) -> Observed:
        """Return what is there now. *Idempotent:* yes."""
        with self._opened() as database, translated(self.on):
            relations = {}
            for name in set(database.list_collection_names()) - {MUTEX, HISTORY, UNDONE}:
                rows = database[name].estimated_document_count()
                # There are no schemas: 'public' is where the nouns have a table that names none.
                relations["public", name] = Relation("public", name, "table", (_ID,), (_KEY,), rows=rows)
            found = Catalogue(0, relations, frozenset({"public"}))
            return Observed(
                Identity(database.name, engine="mongodb"), found, attempts(database, self.on), engine=holder(database)
            )

    def measure(self, tables: Sequence[Table]) -> Measures:
        """Return that nothing of the server's state is measured. *Idempotent:* yes."""
        del tables
        return Measures()

    def volatile(self, table: Table, expressions: Mapping[str, str]) -> Sequence[str]:
        """Return what in the expressions has another value each time. *Idempotent:* yes."""
        return documents.volatile(expressions, f"{table.name} in {self.on}")

    @contextmanager
    def locked(self, run_id: str, within_s: float) -> Iterator[Engine]:
        """This engine alone may change the database within the block."""
        with self._opened() as database:
            lease = Lease(database, run_id, self.on, self._settings.lease_s)
            with translated(self.on):
                lease.take(within_s)
            try:
                yield MongodbEngine(database, lease, run_id, self.on, self._context.secrets.redact)
            finally:
                lease.close()

    @contextmanager
    def _opened(self) -> Iterator[Documents]:
        address = self._context.secrets.resolve(self._settings.address)
        try:
            client = self._connect(address)
            database = client.get_default_database()
        except (PyMongoError, ValueError):
            raise Refused(
                "the address of a database cannot be used (it is not shown, as it may hold a password)",
                on=self.on,
                next_action="write it as mongodb://USER:PASSWORD@HOST:PORT/DATABASE, the database included",
            ) from None
        try:
            yield database
        finally:
            client.close()
