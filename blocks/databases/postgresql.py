"""A PostgreSQL database that backups are taken of, as its verifications look at it."""

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field

from blocks.context import Context
from blocks.databases.observing import ObservedDatabase
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import PositiveDuration


class PostgresqlDatabase(ObservedDatabase):
    """Implements `Database` with the database at an address.

    Args:
        settings: which one, and how long a look may take.
        context: resolves the reference.
    """

    class Settings(StrictModel):
        """Settings of the driver `postgresql`."""

        address: SecretRef = Field(description="reference to its address; the role reads all tables (pg_read_all_data)")
        within_s: PositiveDuration = Field(
            default=60.0, alias="within", description="longest time of a look; tables that are left then go uncounted"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._secrets = context.secrets
        self._reference = settings.address
        super().__init__(self._resolve, settings.address, settings.within_s, context.secrets.redact)

    def _resolve(self) -> str:
        """Return the address; its password is redacted from now on, wherever it turns up."""
        address = self._secrets.resolve(self._reference)
        try:
            self._secrets.redactor.add(str(conninfo_to_dict(address).get("password") or ""))
        except psycopg.Error:
            raise Refused(
                "the address of a database cannot be read (it is not shown, as it may hold a password)",
                on=self._reference,
                next_action="write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with every / ? # @ [ ] % and "
                "space in user and password percent-encoded",
            ) from None
        return address
