"""Pagila, a database that others wrote, loaded once; tests get copies of it."""

import gzip
import os
import subprocess
from pathlib import Path
from urllib.parse import quote

from psycopg import sql

from tests.support.postgresql import SUPERUSER, Cluster

DATA = Path(__file__).resolve().parents[1] / "data/pagila/pagila.sql.gz"
_TEMPLATE = "pagila_template"


def load(cluster: Cluster) -> None:
    """The cluster has a database that copies are made from."""
    url = cluster.database()
    with cluster.as_superuser(url) as connection:
        connection.execute("create role postgres")
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(_TEMPLATE)))
    env = {
        **os.environ,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(cluster.port),
        "PGUSER": SUPERUSER,
        "PGPASSWORD": cluster.password,
        "PGDATABASE": _TEMPLATE,
    }
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"]
    subprocess.run(command, input=gzip.decompress(DATA.read_bytes()), env=env, check=True, stdout=subprocess.DEVNULL)


def copy(cluster: Cluster, name: str) -> str:
    """Return the superuser's address of a fresh copy."""
    with cluster.as_superuser(_address(cluster, "postgres")) as connection:
        command = sql.SQL("create database {} template {}")
        connection.execute(command.format(sql.Identifier(name), sql.Identifier(_TEMPLATE)))
    return _address(cluster, name)


def _address(cluster: Cluster, database: str) -> str:
    password = quote(cluster.password, safe="")
    return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{cluster.port}/{database}"
