"""A PostgreSQL cluster whose lines are backed up, shared by the engines that copy whole clusters."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psycopg

from tests.support.backup_engines import Rig
from tests.support.postgresql import SUPERUSER, Cluster, running_copy
from tests.support.processes import quick_folder, wait_until


class ClusterRig(Rig):
    """Lines are rows of a table in the database `postgres`."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        (folder / "password").write_text(cluster.password)
        (folder / "wrong").write_text("the-wrong-one-of-them")
        self.execute("drop table if exists lines", "create table lines (id serial primary key, line text not null)")

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements in the source as its superuser; returns what the last one gives."""
        with self.connected(self.cluster.port) as connection:
            for statement in statements:
                done = connection.execute(statement)
            return done.fetchall() if done.description else []

    def connected(self, port: int) -> psycopg.Connection:
        """Return a connection to the source, or to a copy of it, as its superuser."""
        return psycopg.connect(
            host="127.0.0.1",
            port=port,
            user=SUPERUSER,
            password=self.cluster.password,
            dbname="postgres",
            autocommit=True,
        )

    def write(self, text: str) -> None:
        self.execute(f"insert into lines (line) values ('{text}')")

    def read(self, folder: Path) -> tuple[str, ...]:
        with quick_folder() as short, running_copy(folder, short) as port, self.connected(port) as connection:

            def writable() -> bool:
                return connection.execute("select not pg_is_in_recovery()").fetchone() == (True,)

            wait_until(writable, what="the end of the recovery")
            rows = connection.execute("select line from lines order by id").fetchall()
            connection.execute("insert into lines (line) values ('of the copy')")
        return tuple(str(line) for (line,) in rows)

    def clock(self) -> datetime:
        """Return the source's time."""
        ((now,),) = self.execute("select clock_timestamp()")
        assert isinstance(now, datetime)
        return now

    def after(self, moment: datetime) -> datetime:
        """Return the source's time, once it is past that moment."""
        return wait_until(lambda: found if (found := self.clock()) > moment else None, what=f"{moment}", every_s=0.05)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """The source is stopped for the length of a `with`."""
        self.cluster.stop()
        try:
            yield
        finally:
            self.cluster.start()


def make_small(cluster: Cluster) -> None:
    """The cluster has one database only, and a third of the files: to pack, or to send one by one."""
    address = f"host=127.0.0.1 port={cluster.port} user={SUPERUSER} dbname=postgres"
    with psycopg.connect(address, password=cluster.password, autocommit=True) as connection:
        connection.execute("update pg_database set datistemplate = false")
        connection.execute("drop database template0")
        connection.execute("drop database template1")
