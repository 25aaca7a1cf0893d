"""The PostgreSQL database that a dump is made of: asked for its version and size, and its address for programs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from blocks.secrets import Secrets
from tasks.common.errors import Refused, Retryable, SlipwayError

_CONNECT_TIMEOUT_S = 10
_STATEMENT_TIMEOUT_MS = 30_000
_REFUSALS = re.compile(
    r"authentication failed|no pg_hba\.conf entry|permission denied|no password supplied|server version mismatch"
    r"|(?:database|role) \".*\" does not exist"
)
# A table that was never vacuumed has no pages on record; it counts as one. No table is locked, as its size would need.
_TABLES = """
    select n.nspname || '.' || c.relname,
           (greatest(c.relpages, 1) + coalesce(greatest(t.relpages, 0), 0)) * current_setting('block_size')::bigint
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_class t on t.oid = c.reltoastrelid
    where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema')
"""


@dataclass(frozen=True)
class Look:
    """What a database says of itself.

    Args:
        name: 'campus on db.internal:5432'.
        version: of the server: '15.18'.
        size_bytes: of the database with its indexes: what a dump's progress is estimated by.
        tables: bytes of each, by 'schema.name'; an estimate.
    """

    name: str
    version: str
    size_bytes: int
    tables: Mapping[str, int]


class SourceDatabase:
    """A database by the reference to its address.

    Args:
        reference: to postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or to libpq's key=value form.
        secrets: resolves it; redacts the password ever after.
    """

    def __init__(self, reference: str, secrets: Secrets) -> None:
        self._reference = reference
        self._secrets = secrets

    def look(self) -> Look:
        """Return what the database says of itself.

        Raises:
            Retryable: it does not answer.
            Refused: it does not let us in, or the address is none.
        """
        address = self._address()
        try:
            with psycopg.connect(**address, autocommit=True) as connection:
                connection.execute(f"set statement_timeout = {_STATEMENT_TIMEOUT_MS}")
                row = connection.execute(
                    "select current_database(), current_setting('server_version'), pg_database_size(current_database())"
                ).fetchone()
                assert row is not None
                tables = dict(connection.execute(_TABLES).fetchall())
                place = f"{row[0]} on {connection.info.host}:{connection.info.port}"
        except psycopg.Error as error:
            # Without its cause, whose text nobody has redacted.
            raise self.meaning(str(error)) from None
        return Look(place, row[1].split()[0], row[2], tables)

    def for_programs(self) -> tuple[str, dict[str, str]]:
        """Return the address without its password, for an argument list, and the environment that has it.

        Raises:
            Refused: the address is none, or holds a secret that has no place in the environment.
        """
        address = self._address()
        environment = {"PGAPPNAME": str(address["application_name"])}
        if password := address.pop("password", None):
            environment["PGPASSWORD"] = str(password)
        if host := address.get("host"):
            # Debian's wrapper takes the newest version's program where it knows that the server is not a local one.
            environment["PGHOST"] = str(host)
        if "sslpassword" in address:
            raise Refused(
                "the address holds a password for the TLS key, which pg_dump takes in its arguments only",
                on=self._reference,
                next_action="use a key file without a password that only Slipway's user can read",
            )
        return make_conninfo(**address), environment

    def meaning(self, said: str) -> SlipwayError:
        """Return the error that a text of PostgreSQL means."""
        facts = {"PostgreSQL says": self._secrets.redact(said.strip())}
        if _REFUSALS.search(said):
            return Refused(
                "the database cannot be dumped: it does not let us",
                on=self._reference,
                next_action="check role, password, database, the role's right to read all tables (pg_read_all_data), "
                "and that pg_dump is not older than the server",
                facts=facts,
            )
        return Retryable(
            "the database did not answer, or not to the end",
            on=self._reference,
            next_action="check that its server runs and can be reached from this worker",
            facts=facts,
        )

    def _address(self) -> dict[str, Any]:
        address = self._secrets.resolve(self._reference)
        try:
            parts: dict[str, Any] = dict(conninfo_to_dict(address))
        except psycopg.Error:
            parts = {}
        written = address.partition("://")[2].rpartition("@")[0].partition(":")[2]
        for password in (written, unquote(written), str(parts.get("password") or "")):
            self._secrets.redactor.add(password)
        if not parts:
            raise Refused(
                "the database's address cannot be read (it is not shown, as it holds a password)",
                on=self._reference,
                next_action="write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with every / ? # @ [ ] % and "
                "space in user and password percent-encoded",
            )
        return {"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": "slipway-backup", **parts}
