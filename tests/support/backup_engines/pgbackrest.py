"""pgBackRest with two encrypted repositories in folders, and a cluster that archives into them."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from blocks.backups.pgbackrest import PgBackRestEngine
from blocks.context import Context
from tests.support.backup_engines import Damage, Rig, Rigs, largest, spoil
from tests.support.backup_engines.clusters import ClusterRig
from tests.support.needs import need
from tests.support.postgresql import SUPERUSER, Cluster, running_cluster
from tests.support.processes import quick_folder, wait_until

STANZA = "demo"
ARCHIVE = "pgbackrest-archive"  # pgBackRest looks for its name in archive_command
KEY = "the-cipher-pass-of-the-repositories"


def archive(folder: Path, *, silently_nothing: bool = False, fails: bool = False) -> None:
    """The cluster's archive_command hands WAL to pgBackRest; or it reports success, and does nothing; or it fails."""
    config = folder / "current" / "pgbackrest.conf"
    push = f'exec pgbackrest --config={config} --stanza={STANZA} archive-push "$1"'
    script = folder / ARCHIVE
    done = "exit 1" if fails else "exit 0" if silently_nothing else push
    script.write_text(f"#!/bin/sh\n{done}\n")
    script.chmod(0o755)


class PgBackRestRig(ClusterRig):
    """Each test has repositories and a configuration of its own, which a link leads the shared cluster to."""

    programs = frozenset({"pgbackrest"})

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__(cluster, folder)
        self.secrets = (KEY, cluster.password)
        (folder / "key").write_text(KEY)
        link = cluster.folder / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(folder / "engine")

    def open(self) -> PgBackRestEngine:
        return self.with_settings()

    def settings(self, key: str = "file:key") -> dict[str, object]:
        """Return the usual settings, which an estate file beside the keys can have as well."""
        return {
            "stanza": STANZA,
            "folder": "engine",
            "data": str(self.cluster.data),
            "socket_dir": str(self.cluster.folder / "sockets"),
            "port": self.cluster.port,
            "role": SUPERUSER,
            "password": "file:password",
            "repositories": [{"path": "one", "cipher_pass": key}, {"path": "two", "cipher_pass": key}],
            "process_max": 1,
            "archive_timeout": "10s",
        }

    def with_settings(self, key: str = "file:key", **settings: object) -> PgBackRestEngine:
        """Return the engine, with settings over the usual ones."""
        checked = PgBackRestEngine.Settings.model_validate({**self.settings(key), **settings})
        return PgBackRestEngine(checked, Context(base=self.folder))

    @contextlib.contextmanager
    def archiving_nothing(self) -> Iterator[None]:
        """WAL goes nowhere for the length of a `with`, and the server is told that all is well."""
        archive(self.cluster.folder, silently_nothing=True)
        try:
            yield
        finally:
            archive(self.cluster.folder)

    def moment(self) -> datetime:
        newest = [backup.ended_at for backup in self.open().stored()]
        return self.after(max(newest, default=datetime(2020, 1, 1, tzinfo=UTC)))

    def settle(self) -> None:
        ((name,),) = self.execute("select pg_walfile_name(pg_switch_wal())")
        for repository in ("one", "two"):
            wait_until(lambda: list((self.folder / repository).rglob(f"{name}-*")), what=f"WAL {name} in {repository}")  # noqa: B023

    def damage(self, label: str, how: Damage) -> None:
        spoil(largest(self.folder / "one" / "backup" / STANZA / label / "pg_data", "*.zst"), how)

    def with_wrong_key(self) -> PgBackRestEngine:
        return self.with_settings(key="file:wrong", folder="wrong-engine")

    def with_wrong_credentials(self) -> PgBackRestEngine:
        return self.with_settings(password="file:wrong")

    def source_stopped(self) -> AbstractContextManager[None]:
        return self.stopped()


@contextlib.contextmanager
def rigs(shared: Path) -> Iterator[Rigs]:
    """Yield what makes empty repositories for a folder; the cluster is shared."""
    del shared
    need("pgbackrest")
    with quick_folder() as folder:
        archive(folder)
        settings = {"archive_mode": "on", "archive_command": f"{folder / ARCHIVE} %p"}
        with running_cluster(folder, settings=settings) as cluster:

            @contextlib.contextmanager
            def rig(folder: Path) -> Iterator[Rig]:
                del folder
                with quick_folder() as quick:
                    yield PgBackRestRig(cluster, quick)

            yield rig
