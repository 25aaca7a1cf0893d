"""barman-cloud as a person would run it, into moto's S3 server on the same machine: a row beside other engines."""

import json
import shlex
from pathlib import Path

from tests.bench import bare
from tests.bench.source import Source
from tests.support.needs import TOOLS
from tests.support.s3 import BUCKET, Moto

PROGRAM = "barman-cloud-backup"
_SERVER = "bench"
_URL = f"s3://{BUCKET}/{_SERVER}"
# moto takes any.
_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-central-1"}


class Barman:
    """A bucket that holds one backup, and the WAL that makes it consistent.

    Args:
        moto: the server that has the bucket.
    """

    def __init__(self, moto: Moto) -> None:
        self._moto = moto

    def take(self, source: Source, folder: Path) -> None:
        """The bucket has a new backup, which is the only one."""
        del folder
        self._empty()
        options = ["--gzip", "--immediate-checkpoint", "--jobs=2", f"--host={source.folder}/sockets"]
        options += [f"--port={source.cluster.port}", f"--user={source.environment['PGUSER']}"]
        self._run(source, PROGRAM, *options, _URL, _SERVER)
        newest = self._newest(source)
        # The source's own WAL goes to pgBackRest.
        for segment in sorted((source.cluster.data / "pg_wal").iterdir()):
            if newest["begin_wal"] <= segment.name <= newest["end_wal"] and "." not in segment.name:
                self._run(source, "barman-cloud-wal-archive", "--gzip", _URL, _SERVER, str(segment))

    def size(self, source: Source, folder: Path) -> int:
        """Return what the backup takes, without its WAL."""
        del source, folder
        return sum(size for key, size in self._keys().items() if f"/{_SERVER}/base/" in key)

    def fetch(self, source: Source, data: Path) -> None:
        """The folder holds the backup, and is a cluster that fetches its WAL when it is started."""
        self._run(source, "barman-cloud-restore", _URL, _SERVER, str(self._newest(source)["backup_id"]), str(data))
        keys = [f"{name}={value}" for name, value in _KEYS.items()]
        command = [str(TOOLS / "barman-cloud-wal-restore"), f"--endpoint-url={self._moto.endpoint}", _URL, _SERVER]
        with (data / "postgresql.auto.conf").open("a") as file:
            file.write(f"restore_command = '{' '.join(keys)} {shlex.join(command)} %f \"%p\"'\n")
        bare.run(["touch", str(data / "recovery.signal")])

    def _newest(self, source: Source) -> dict[str, str]:
        listed = json.loads(self._run(source, "barman-cloud-backup-list", "--format=json", _URL, _SERVER))
        (newest,) = listed["backups_list"]
        return dict(newest)

    def _run(self, source: Source, program: str, *arguments: str) -> str:
        argv = [str(TOOLS / program), f"--endpoint-url={self._moto.endpoint}", *arguments]
        return bare.run(argv, {**source.environment, **_KEYS, "HOME": "/"})

    def _keys(self) -> dict[str, int]:
        pages = self._moto.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", ())}

    def _empty(self) -> None:
        for key in self._keys():
            self._moto.client().delete_object(Bucket=BUCKET, Key=key)
