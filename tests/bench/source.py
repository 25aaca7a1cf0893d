"""What the figures of backups are measured on: pgbench's tables in a cluster of their own, ended by its process id."""

import os
import subprocess
from pathlib import Path

from blocks.postgresql import find_binaries
from deployments.lab.postgresql import as_server_user
from tasks.common.errors import Refused
from tests.support.backup_engines.pgbackrest import ARCHIVE, STANZA, archive
from tests.support.postgresql import SUPERUSER, Cluster
from tests.support.verifying import superuser_address, within

DATABASE = "pgbench"
TABLES = ("pgbench_accounts", "pgbench_branches", "pgbench_history", "pgbench_tellers")
_LOADED_AT_ONCE = {"max_wal_size": "4GB", "checkpoint_timeout": "30min", "maintenance_work_mem": "256MB"}


class Source:
    """A cluster whose WAL goes to pgBackRest.

    Args:
        folder: holds everything; not there yet. Its path must leave room for a socket's.
        scale: pgbench's: 100,000 rows or 15 MB each.
    """

    def __init__(self, folder: Path, scale: int) -> None:
        folder.mkdir(parents=True)
        self.folder, self.scale, self.stanza = folder, scale, STANZA
        settings = {"archive_mode": "on", "archive_command": f"{folder / ARCHIVE} %p", **_LOADED_AT_ONCE}
        self.cluster = Cluster(folder, settings=settings)
        (folder / "password").write_text(self.cluster.password)
        (folder / "address").write_text(self.address)

    def start(self) -> None:
        """The server runs, its tables are filled, and all of it is on the disk."""
        # What was written while it was filled is in no backup.
        archive(self.folder, silently_nothing=True)
        _run([*as_server_user(), str(find_binaries() / "pg_checksums"), "--enable", f"--pgdata={self.cluster.data}"])
        self.cluster.start()
        with within(superuser_address(self.cluster, "postgres")) as session:
            session.execute(f"create database {DATABASE}")
        argv = [str(find_binaries() / "pgbench"), "--initialize", "--quiet", "--foreign-keys", f"--scale={self.scale}"]
        _run([*argv, DATABASE], self.environment)
        with within(self.address) as session:
            session.execute("create extension amcheck")
            session.execute("checkpoint")
            session.execute("select pg_switch_wal()")
        archive(self.folder)

    def stop(self) -> None:
        """Nothing of it runs. *Idempotent:* yes."""
        self.cluster.stop()

    @property
    def config(self) -> Path:
        """Return where pgBackRest's configuration is, once the engine has written it."""
        return self.folder / "current" / "pgbackrest.conf"

    @property
    def address(self) -> str:
        """Return the address of the tables' database, for its superuser."""
        return superuser_address(self.cluster, DATABASE)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which PostgreSQL's programs reach the cluster as its superuser."""
        return {
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.cluster.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": self.cluster.password,
        }

    def size_bytes(self) -> int:
        """Return how large the tables' database is."""
        with within(self.address) as session:
            row = session.execute("select pg_database_size(current_database())").fetchone()
        assert row is not None
        return int(row[0])


def _run(argv: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, cwd="/", env=env, capture_output=True, text=True)
    if done.returncode:
        raise Refused(
            f"the database cannot be made ready: exit code {done.returncode}",
            on=DATABASE,
            next_action="do what the last lines ask for",
            facts={"last lines": done.stderr[-500:]},
        )
