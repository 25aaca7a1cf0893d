"""What the sites' servers are filled with: the zone that DNS answers from, and the application's database."""

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import httpx
import psycopg
from psycopg import sql

from deployments.lab.sites import texts
from deployments.lab.sites.topology import APPLICATION_NAME, DATABASE_NAME, DOMAIN

SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
"""PowerDNS's own."""
DATABASE = "campus"
"""The application's database, and the role that owns it."""
DNS_TTL_S = 5


def make_zones(database: Path) -> None:
    """The file is a database for PowerDNS, without zones. *Idempotent:* no."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript(SCHEMA.read_text())


def create_zone(server: str, api_key: str, place: str) -> bool:
    """The zone is on the DNS server, and its names point at the place; returns false while the server is away.

    *Idempotent:* no; a zone that is there is not made again, and false is returned.

    Args:
        server: host and port of its API.
        api_key: opens it.
        place: an address.
    """
    names = [
        {"name": f"{name}.", "type": "A", "ttl": DNS_TTL_S, "records": [{"content": place, "disabled": False}]}
        for name in (APPLICATION_NAME, DATABASE_NAME)
    ]
    zone = {"name": f"{DOMAIN}.", "kind": "Native", "nameservers": [f"ns.{DOMAIN}."], "rrsets": names}
    api = f"http://{server}/api/v1/servers/localhost/zones"
    with contextlib.suppress(httpx.TransportError):
        return httpx.post(api, json=zone, headers={"X-API-Key": api_key}, timeout=2).status_code == 201
    return False


def create_database(dsn: str, passwords: Mapping[str, str]) -> str:
    """The application's database and role are there, and so is the role that Slipway looks with; returns its system id.

    *Idempotent:* no.

    Args:
        dsn: of the primary, as its superuser.
        passwords: by role.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        for role, clause in ((DATABASE, ""), (texts.OBSERVER, " in role pg_monitor")):
            password = connection.pgconn.encrypt_password(
                passwords[role].encode(), role.encode(), b"scram-sha-256"
            ).decode()
            connection.execute(
                sql.SQL("create role {} login password {}" + clause).format(sql.Identifier(role), sql.Literal(password))
            )
        # A node's own history is in a file; see docs/how-to/connect-sites.md.
        connection.execute(
            sql.SQL("grant execute on function pg_read_file(text, bigint, bigint, boolean) to {}").format(
                sql.Identifier(texts.OBSERVER)
            )
        )
        connection.execute(sql.SQL("create database {0} owner {0}").format(sql.Identifier(DATABASE)))
        row = connection.execute("select system_identifier::text from pg_control_system()").fetchone()
    return row[0] if row else ""
