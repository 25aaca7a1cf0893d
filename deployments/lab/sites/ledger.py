"""Slipway's own database for the two sites, on a host outside of both: what moves them must not go with one of them."""

from pathlib import Path

from blocks.postgresql import find_binaries
from deployments.lab import postgresql
from deployments.lab.sites.topology import DATABASE_PORT, LEDGER, Topology

USER = "ledger"
"""Its superuser: nothing else is in it."""


def prepare(home: Path, topology: Topology) -> None:
    """The database is in its folder, and whoever is in the lab's networks may log in with its password."""
    data = _data(home)
    postgresql.initialise(data, USER, home / "secrets" / USER)
    with (data / "pg_hba.conf").open("a", encoding="utf-8") as rules:
        rules.write(f"host all all {topology.everything} scram-sha-256\n")


def command(home: Path, topology: Topology) -> list[str]:
    """Return the argument list that runs the server in the foreground."""
    options = {"listen_addresses": topology.address(LEDGER), "port": DATABASE_PORT, "unix_socket_directories": ""}
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return [*postgresql.as_server_user(), str(find_binaries() / "postgres"), "-D", str(_data(home)), *flags]


def dsn(topology: Topology, password: str) -> str:
    """Return its address, password included."""
    return f"postgresql://{USER}:{password}@{topology.address(LEDGER)}:{DATABASE_PORT}/postgres?connect_timeout=2"


def _data(home: Path) -> Path:
    return home / LEDGER
