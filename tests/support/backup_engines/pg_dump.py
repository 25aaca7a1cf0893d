"""pg_dump, of a database of a cluster that all tests share."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg

from blocks.backups.pg_dump import PgDumpEngine
from deployments.lab.postgresql import find_binaries
from tasks.backup.ports import BackupEngine
from tests.support.backup_engines import Rig, Rigs
from tests.support.backup_engines.sealed import SealedRig
from tests.support.needs import need
from tests.support.postgresql import Cluster, running_cluster


class PgDumpRig(SealedRig):
    """A fresh database with one table of lines."""

    programs = frozenset({"pg_dump"})

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        super().__init__(folder, cluster.role_password, "the-wrong-password-of-the-database")
        self.cluster = cluster
        self.url = cluster.database()
        (folder / "address").write_text(self.url)
        (folder / "wrong-address").write_text(self.url.replace(cluster.role_password, self.secrets[-1]))
        with psycopg.connect(self.url) as connection:
            connection.execute("create table line (id int generated always as identity primary key, text text)")

    def with_settings(self, **settings: object) -> PgDumpEngine:
        usual = {**self.settings, "database": "file:address", **settings}
        return PgDumpEngine(PgDumpEngine.Settings.model_validate(usual), self.context())

    def write(self, text: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute("insert into line (text) values (%s)", [text])

    def read(self, folder: Path) -> tuple[str, ...]:
        """Restored with pg_restore into another database, as a person would."""
        address = self.cluster.database()
        restored = subprocess.run(
            [str(find_binaries() / "pg_restore"), "--exit-on-error", "--jobs=2", f"--dbname={address}", str(folder)],
            capture_output=True,
            text=True,
        )
        assert restored.returncode == 0, restored.stderr
        with psycopg.connect(address) as connection:
            return tuple(text for (text,) in connection.execute("select text from line order by id"))

    def with_wrong_credentials(self) -> BackupEngine:
        return self.with_settings(database="file:wrong-address")

    @contextlib.contextmanager
    def source_stopped(self) -> Iterator[None]:
        self.cluster.stop()
        try:
            yield
        finally:
            self.cluster.start()


@contextlib.contextmanager
def rigs(shared: Path) -> Iterator[Rigs]:
    """Yield what makes a database in one cluster for each test."""
    need("pg_dump")

    @contextlib.contextmanager
    def made(folder: Path) -> Iterator[Rig]:
        yield PgDumpRig(folder, cluster)

    with running_cluster(shared) as cluster:
        yield made
