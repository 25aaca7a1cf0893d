"""Sources with Pagila in them, copies of their files, and scratch servers for those."""

import contextlib
import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import psycopg

from blocks import open_driver
from blocks.context import Context
from blocks.databases.postgresql import PostgresqlDatabase
from blocks.postgresql import USERS, find_binaries
from blocks.scratch.postgresql import PostgresqlScratch
from blocks.users import find_user
from tasks.common.backups import BackupKind, Form, OnProgress, RestoreTo, Rung, StoredBackup
from tasks.common.model import DriverSpec
from tasks.verification import rungs
from tasks.verification.model import DatabaseFacts
from tests.support.docs import ROOT
from tests.support.postgresql import SUPERUSER, Cluster

PAGILA = ROOT / "tests/data/pagila/pagila.sql.gz"
NAME = "pagila"


def load_pagila(cluster: Cluster) -> None:
    """The cluster has Pagila."""
    with cluster.as_superuser(cluster.database()) as session:
        session.execute("create role postgres")
        session.execute(f"create database {NAME}")
    env = {**os.environ, "PGPASSWORD": cluster.password}
    argv = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(cluster.port)]
    argv += ["-U", SUPERUSER, "-d", NAME]
    done = subprocess.run(argv, input=gzip.decompress(PAGILA.read_bytes()), env=env, capture_output=True)
    assert done.returncode == 0, done.stderr


def superuser_address(cluster: Cluster, database: str = NAME) -> str:
    return f"postgresql://{SUPERUSER}:{quote(cluster.password, safe='')}@127.0.0.1:{cluster.port}/{database}"


@contextlib.contextmanager
def within(address: str) -> Iterator[psycopg.Connection]:
    """A session in a database, each statement for itself."""
    with psycopg.connect(address, autocommit=True) as session:
        yield session


def source(folder: Path, cluster: Cluster, database: str = NAME) -> PostgresqlDatabase:
    """Return the driver for a database of the cluster; its address is in a file."""
    (folder / "address").write_text(superuser_address(cluster, database))
    spec = DriverSpec.model_validate({"driver": "postgresql", "address": "file:address"})
    opened = open_driver("database", spec, Context(base=folder))
    assert isinstance(opened, PostgresqlDatabase)
    return opened


def scratch_in(folder: Path) -> PostgresqlScratch:
    spec = DriverSpec.model_validate({"driver": "postgresql", "folder": str(folder), "superuser": SUPERUSER})
    opened = open_driver("scratch", spec, Context(base=folder))
    assert isinstance(opened, PostgresqlScratch)
    return opened


def program(name: str) -> str:
    return str(find_binaries() / name)


def hand_over(folder: Path) -> None:
    """The folder is the server's user's, closed to others."""
    user = find_user(USERS)
    for path in (folder, *folder.rglob("*")):
        if user is not None:
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    folder.chmod(0o700)


def _now() -> datetime:
    return datetime.now(UTC)


class CopyingEngine:
    """A fake engine, for tests of what comes after a restore: its backup is a folder, which it copies."""

    def __init__(self, backup: Path, form: Form = Form.CLUSTER) -> None:
        self.backup = backup
        self.form = form
        self.stored = StoredBackup("copy", BackupKind.FULL, _now(), _now(), 0, 0)

    def verify(self, label: str, repository: int = 1) -> tuple[str, ...]:
        del label, repository
        return ()

    def restore(self, to: RestoreTo, into: Path, on_progress: OnProgress, repository: int = 1) -> StoredBackup:
        del to, on_progress, repository
        shutil.copytree(self.backup, into, dirs_exist_ok=True, symlinks=True)
        hand_over(into)
        return self.stored

    def reaches(self, repository: int = 1) -> datetime | None:
        del repository
        return self.stored.ended_at


def base_backup(cluster: Cluster, into: Path) -> Path:
    """Return a folder with a base backup of the cluster, with the WAL that makes it consistent."""
    env = {**os.environ, "PGPASSWORD": cluster.password}
    argv = [program("pg_basebackup"), "-h", "127.0.0.1", "-p", str(cluster.port), "-U", SUPERUSER, "-D", str(into)]
    subprocess.run([*argv, "-X", "fetch", "-c", "fast", "--no-sync"], env=env, check=True, capture_output=True)
    return into


def dump(cluster: Cluster, into: Path, database: str = NAME) -> Path:
    """Return a folder with a dump of a database of the cluster."""
    argv = [program("pg_dump"), "-Fd", "-f", str(into), "-d", superuser_address(cluster, database)]
    subprocess.run(argv, check=True, capture_output=True)
    return into


def climb_all(
    engine: CopyingEngine,
    scratch: PostgresqlScratch,
    source: PostgresqlDatabase,
    facts: DatabaseFacts,
    rpo_s: float = 60.0,
) -> list[Rung]:
    """Return every rung but the expectations, in the ladder's order; the scratch server stays open."""
    now = source.moment()
    form = engine.form
    climbed = [rungs.freshness((), engine, now, rpo_s)]
    climbed.append(rungs.repository_check(climbed, engine, "copy"))
    folder = scratch.open()
    climbed.append(rungs.restore(climbed, engine, scratch, folder, RestoreTo(), lambda _: None))
    climbed.append(rungs.pages(climbed, form, scratch))
    climbed.append(rungs.structure(climbed, form, scratch))
    climbed.append(rungs.full_read(climbed, form, scratch))
    copy = scratch.database(NAME)
    climbed.append(rungs.schema(climbed, form, facts, copy))
    climbed.append(rungs.counts(climbed, form, rungs.Bands(facts.rows), copy))
    climbed.append(rungs.sequences(climbed, form, scratch))
    climbed.append(rungs.foreign_keys(climbed, form, scratch))
    climbed.append(rungs.heartbeat(climbed, form, now.at, copy, rpo_s))
    return climbed


def outcomes(climbed: list[Rung]) -> dict[str, str]:
    return {each.name: each.outcome.value for each in climbed}
