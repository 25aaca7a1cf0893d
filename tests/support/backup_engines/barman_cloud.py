"""barman-cloud with moto's S3 server behind TLS, and a cluster that archives into it."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from blocks.backups.barman_cloud import BarmanCloudEngine
from blocks.context import Context
from tests.support.backup_engines import Damage, Rig, Rigs
from tests.support.backup_engines.clusters import ClusterRig, make_small
from tests.support.needs import TOOLS, need
from tests.support.postgresql import SUPERUSER, Cluster, running_cluster
from tests.support.processes import quick_folder, wait_until
from tests.support.s3 import BUCKET, Moto, behind_tls, running_moto

SERVER = "demo"
ARCHIVE = "barman-archive"
SECRET_KEY = "the-secret-key-of-the-bucket"


def archive(folder: Path, path: str = "", *, silently_nothing: bool = False) -> None:
    """The cluster's archive_command puts WAL below a path of the bucket; or it reports success, and does nothing."""
    engine = folder / "current"
    # The machine that the tests run on may name authorities of its own, which come before the file's.
    files = f"unset AWS_CA_BUNDLE; AWS_CONFIG_FILE={engine}/config AWS_SHARED_CREDENTIALS_FILE={engine}/credentials"
    push = f'{files} exec {TOOLS}/barman-cloud-wal-archive --gzip s3://{BUCKET}/{path} {SERVER} "$1"'
    script = folder / ARCHIVE
    # Nothing is archived between two tests: where to is not known yet.
    # Nor is the file that only says when a backup was taken: each start of the program takes most of a second.
    nothing = 'case "$1" in *.backup) exit 0;; esac\n'
    script.write_text(f"#!/bin/sh\n{'exit 0' if silently_nothing or not path else nothing + push}\n")
    script.chmod(0o755)


class BarmanCloudRig(ClusterRig):
    """Each test has keys of its own in the bucket, and a folder, which a link leads the shared cluster to."""

    programs = frozenset({"barman-cloud-ba"})

    def __init__(self, cluster: Cluster, folder: Path, moto: Moto) -> None:
        super().__init__(cluster, folder)
        self.secrets = (SECRET_KEY, cluster.password)
        self.moto = moto
        self.path = f"of/{folder.name}"
        (folder / "access-key").write_text("AKIAEXAMPLEOFNOTHING")
        (folder / "secret-key").write_text(SECRET_KEY)
        link = cluster.folder / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(folder / "engine")
        self.open()._program.configure()
        archive(cluster.folder, self.path)

    def open(self) -> BarmanCloudEngine:
        return self.with_settings()

    def settings(self) -> dict[str, object]:
        """Return the usual settings, which an estate file beside the keys can have as well."""
        return {
            "server": SERVER,
            "folder": "engine",
            "data": str(self.cluster.data),
            "socket_dir": str(self.cluster.folder / "sockets"),
            "port": self.cluster.port,
            "role": SUPERUSER,
            "password": "file:password",
            "path": self.path,
            "s3": {
                "bucket": BUCKET,
                "endpoint": self.moto.place,
                "region": "eu-central-1",
                "access_key": "file:access-key",
                "secret_key": "file:secret-key",
                "path_style": True,
                "ca_file": str(self.moto.ca_file),
            },
            "jobs": 1,
            "archive_timeout": "30s",
        }

    def with_settings(self, **settings: object) -> BarmanCloudEngine:
        """Return the engine, with settings over the usual ones."""
        checked = BarmanCloudEngine.Settings.model_validate({**self.settings(), **settings})
        return BarmanCloudEngine(checked, Context(base=self.folder, path=(str(TOOLS),)))

    def keys(self, below: str) -> dict[str, int]:
        """Return what lies in the bucket below a folder of this cluster, with sizes."""
        prefix = f"{self.path}/{SERVER}/{below}"
        listed = self.moto.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return {item["Key"]: item["Size"] for item in listed.get("Contents", ())}

    @contextlib.contextmanager
    def archiving_nothing(self) -> Iterator[None]:
        """WAL goes nowhere for the length of a `with`, and the server is told that all is well."""
        archive(self.cluster.folder, silently_nothing=True)
        try:
            yield
        finally:
            archive(self.cluster.folder, self.path)

    def moment(self) -> datetime:
        newest = [backup.ended_at for backup in self.open().stored()]
        return self.after(max(newest, default=datetime(2020, 1, 1, tzinfo=UTC)))

    def settle(self) -> None:
        ((name,),) = self.execute("select pg_walfile_name(pg_switch_wal())")
        wait_until(lambda: [key for key in self.keys("wals/") if f"/{name}" in key], what=f"WAL {name} in the bucket")

    def damage(self, label: str, how: Damage) -> None:
        keys = self.keys(f"base/{label}/")
        self.spoil(max(keys, key=lambda key: keys[key]), how)

    def spoil(self, key: str, how: Damage) -> None:
        """An object is damaged: another one takes its place."""
        client = self.moto.client()
        content = bytearray(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        match how:
            case Damage.MISSING:
                client.delete_object(Bucket=BUCKET, Key=key)
                return
            case Damage.TRUNCATED:
                del content[len(content) // 2 :]
            case Damage.FLIPPED:
                content[len(content) // 2] ^= 1
        client.put_object(Bucket=BUCKET, Key=key, Body=bytes(content))

    def with_wrong_credentials(self) -> BarmanCloudEngine:
        return self.with_settings(password="file:wrong")

    def source_stopped(self) -> AbstractContextManager[None]:
        return self.stopped()


@contextlib.contextmanager
def rigs(shared: Path) -> Iterator[Rigs]:
    """Yield what makes a place in the bucket for each folder; the cluster and the server are shared."""
    need("barman-cloud-backup")
    with quick_folder() as folder, running_moto(shared) as plain, behind_tls(plain, shared) as moto:
        archive(folder)
        settings = {"archive_mode": "on", "archive_command": f"{folder / ARCHIVE} %p"}
        with running_cluster(folder, settings=settings) as cluster:
            make_small(cluster)

            @contextlib.contextmanager
            def rig(folder: Path) -> Iterator[Rig]:
                del folder
                with quick_folder() as quick:
                    try:
                        yield BarmanCloudRig(cluster, quick, moto)
                    finally:
                        archive(cluster.folder)

            yield rig
