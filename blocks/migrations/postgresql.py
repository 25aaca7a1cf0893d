"""A PostgreSQL database that is migrated."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field

from blocks.context import Context
from blocks.migrations.engine import PostgresqlEngine
from blocks.migrations.expecting import require_met
from blocks.migrations.looking import Looks
from blocks.migrations.partitions import PostgresqlKeeper, look, strays
from blocks.migrations.sessions import Mutex, Sessions
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.migration.catalogue import Observed
from tasks.migration.health import Measures
from tasks.migration.model import Expect, Table
from tasks.migration.partition_model import Create, Ranged, Seen
from tasks.migration.partition_ports import Keeper
from tasks.migration.ports import Engine


class PostgresqlMigrations:
    """Implements `MigrationTarget` and `PartitionTarget` with the database at an address.

    Args:
        settings: which one.
        context: resolves the reference.
    """

    class Settings(StrictModel):
        """Settings of the driver `postgresql`."""

        address: SecretRef = Field(
            description="reference to its address, not through a pooler of transactions; the role owns the tables, and "
            "may create schemas"
        )
        data_folder: str | None = Field(
            default=None,
            description="the server's data folder, where that is on the worker's machine: how much room there is",
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings, self._context = settings, context
        self._sessions = Sessions(self._address, settings.address, context.secrets.redact)
        folder: Path | None = context.resolve(settings.data_folder) if settings.data_folder else None
        self._looks = Looks(self._sessions, folder)

    @property
    def on(self) -> str:
        """Return which one it is."""
        return self._settings.address

    def observe(self) -> Observed:
        """Return what is there now. *Idempotent:* yes."""
        return self._looks.observe()

    def measure(self, tables: Sequence[Table]) -> Measures:
        """Return how the server is just now. *Idempotent:* yes."""
        return self._looks.measure(tables)

    def volatile(self, table: Table, expressions: Mapping[str, str]) -> Sequence[str]:
        """Return what in the expressions has another value each time. *Idempotent:* yes."""
        return self._looks.volatile(table, expressions)

    @contextmanager
    def locked(self, run_id: str, within_s: float) -> Iterator[Engine]:
        """This engine alone may change the database within the block."""
        mutex = Mutex(self._sessions, run_id)
        try:
            mutex.take(within_s)
            engine = PostgresqlEngine(self._sessions, mutex, run_id, self._looks.volatile, self._expect)
            try:
                yield engine
            finally:
                engine.close()
        finally:
            mutex.close()

    def ranged(self, tables: Sequence[str]) -> Seen:
        """Return tables with their partitions, as they are now. *Idempotent:* yes."""
        return look(self._sessions, tables)

    def strays(self, seen: Ranged, step: Create) -> int:
        """Return how many rows of a partition that is to be made lie in the default one. *Idempotent:* yes."""
        return strays(self._sessions, seen, step)

    @contextmanager
    def keeping(self, run_id: str, within_s: float) -> Iterator[Keeper]:
        """This engine alone may change the database within the block."""
        mutex = Mutex(self._sessions, run_id)
        try:
            mutex.take(within_s)
            keeper = PostgresqlKeeper(self._sessions, mutex, run_id)
            try:
                yield keeper
            finally:
                keeper.close()
        finally:
            mutex.close()

    def _expect(self, step: Expect) -> None:
        require_met(step, self._address(), self.on, self._context.secrets.redact)

    def _address(self) -> str:
        """Return the address; its password is redacted from now on, wherever it turns up."""
        address = self._context.secrets.resolve(self._settings.address)
        try:
            self._context.secrets.redactor.add(str(conninfo_to_dict(address).get("password") or ""))
        except psycopg.Error:
            raise Refused(
                "the address of a database cannot be read (it is not shown, as it may hold a password)",
                on=self._settings.address,
                next_action="write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with every / ? # @ [ ] % and "
                "space in user and password percent-encoded",
            ) from None
        return address
