"""pg_basebackup into two folders, of a cluster that archives nothing."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from blocks.backups.basebackup import BaseBackupEngine
from blocks.context import Context
from tests.support.backup_engines import Damage, Rig, Rigs, largest, spoil
from tests.support.backup_engines.clusters import ClusterRig
from tests.support.postgresql import SUPERUSER, Cluster, running_cluster
from tests.support.processes import quick_folder


class BaseBackupRig(ClusterRig):
    """Each test has repositories of its own."""

    programs = frozenset({"pg_basebackup"})

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__(cluster, folder)
        self.secrets = (cluster.password,)

    def open(self) -> BaseBackupEngine:
        return self.with_settings()

    def settings(self) -> dict[str, object]:
        """Return the usual settings, which an estate file beside the password can have as well."""
        return {
            "port": self.cluster.port,
            "role": SUPERUSER,
            "password": "file:password",
            "repositories": ["one", "two"],
        }

    def with_settings(self, **settings: object) -> BaseBackupEngine:
        """Return the engine, with settings over the usual ones."""
        checked = BaseBackupEngine.Settings.model_validate({**self.settings(), **settings})
        return BaseBackupEngine(checked, Context(base=self.folder))

    def damage(self, label: str, how: Damage) -> None:
        spoil(largest(self.folder / "one" / label / "data" / "base", "*"), how)

    def with_wrong_credentials(self) -> BaseBackupEngine:
        return self.with_settings(password="file:wrong")

    def source_stopped(self) -> AbstractContextManager[None]:
        return self.stopped()


@contextlib.contextmanager
def rigs(shared: Path) -> Iterator[Rigs]:
    """Yield what makes empty repositories for a folder; the cluster is shared."""
    del shared

    @contextlib.contextmanager
    def rig(folder: Path) -> Iterator[Rig]:
        del folder
        with quick_folder() as quick:
            yield BaseBackupRig(cluster, quick)

    with quick_folder() as folder, running_cluster(folder) as cluster:
        yield rig
