"""The ledger's migrations on a real PostgreSQL."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from blocks.ledger_migrations import SCHEMA, migrate
from tasks.common.errors import Refused
from tests.support.ledger import open_ledger, record
from tests.support.postgresql import Cluster
from tests.support.processes import wait_until

pytestmark = pytest.mark.server


@pytest.fixture
def root(postgresql_cluster: Cluster, database_url: str) -> Iterator[psycopg.Connection]:
    with postgresql_cluster.as_superuser(database_url) as connection:
        yield connection


KNOWN = tuple(sorted(path.stem for path in SCHEMA.glob("*.sql")))
PREPARE = """
import sys
from pathlib import Path
from blocks.context import Context
from blocks.ledger import PostgresqlLedger
PostgresqlLedger(PostgresqlLedger.Settings(dsn="env:LEDGER"), Context(base=Path())).prepare()
"""


def test_eight_processes_may_prepare_at_once(root: psycopg.Connection, database_url: str, tmp_path: Path) -> None:
    # The hardest setting: a snapshot that is taken before waiting for the lock would not see who was first.
    root.execute(
        sql.SQL("alter database {} set default_transaction_isolation = 'serializable'").format(
            sql.Identifier(root.info.dbname)
        )
    )
    root.execute("select pg_advisory_lock(%s)", [0x736C6970776179])
    environment = {**os.environ, "LEDGER": database_url}
    processes = [
        subprocess.Popen([sys.executable, "-c", PREPARE], env=environment, stderr=subprocess.PIPE) for _ in range(8)
    ]
    try:
        wait_until(
            lambda: (
                root.execute("select count(*) from pg_locks where locktype = 'advisory' and not granted").fetchone()
                == (8,)
            ),
            what="eight processes waiting for the lock",
        )
        root.execute("select pg_advisory_unlock_all()")
        assert [process.communicate(timeout=30)[1] for process in processes] == [b""] * 8
        assert [process.returncode for process in processes] == [0] * 8
    finally:
        for process in processes:
            process.kill()
            process.wait()
    names = [name for (name,) in root.execute("select name from slipway.migration_history order by applied_at, name")]
    assert names == list(KNOWN)
    ledger = open_ledger(tmp_path, database_url)
    ledger.begin(record())
    assert ledger.record("run-1") == record()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations that a test may edit."""
    return Path(shutil.copytree(SCHEMA, tmp_path / "schema", ignore=shutil.ignore_patterns("*.py", "__pycache__")))


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def test_migrations_are_applied_once_in_order_and_noted_with_checksum_and_time(
    owner: psycopg.Connection, folder: Path
) -> None:
    assert migrate(owner, folder) == KNOWN
    (folder / "0902_third.sql").write_text("alter table slipway.first_of_two add column third int;")
    (folder / "0901_second.sql").write_text("create table slipway.first_of_two ();")
    assert migrate(owner, folder) == ("0901_second", "0902_third")
    assert migrate(owner, folder) == ()
    rows = owner.execute("select name, length(checksum), applied_at <= now() from slipway.migration_history").fetchall()
    assert rows == [(name, 64, True) for name in (*KNOWN, "0901_second", "0902_third")]


def test_edited_migration_is_refused_and_the_new_one_beside_it_not_applied(
    owner: psycopg.Connection, folder: Path
) -> None:
    migrate(owner, folder)
    with (folder / "0001_releases.sql").open("a") as file:
        file.write("-- only a comment\n")
    (folder / "0901_new.sql").write_text("create table slipway.new ();")
    with pytest.raises(Refused, match="0001_releases was edited after it was applied"):
        migrate(owner, folder)
    assert owner.execute("select to_regclass('slipway.new')").fetchone() == (None,)


def test_other_line_ends_are_no_edit(owner: psycopg.Connection, folder: Path) -> None:
    migrate(owner, folder)
    file = folder / "0001_releases.sql"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert migrate(owner, folder) == ()


def test_tables_of_a_newer_version_are_refused_naming_what_is_unknown(
    owner: psycopg.Connection, folder: Path, tmp_path: Path, database_url: str
) -> None:
    (folder / "0999_future.sql").write_text("create table slipway.future ();")
    migrate(owner, folder)
    with pytest.raises(Refused, match="not of this version") as caught:
        open_ledger(tmp_path, database_url).prepare()
    assert "0999_future" in str(caught.value)


def test_migration_that_belongs_before_applied_ones_is_refused(owner: psycopg.Connection, folder: Path) -> None:
    migrate(owner, folder)
    (folder / "0000_late.sql").write_text("create table slipway.late ();")
    with pytest.raises(Refused, match="not of this version") as caught:
        migrate(owner, folder)
    assert "0000_late" in str(caught.value)


def test_failing_migration_leaves_nothing_of_any_and_can_be_mended(owner: psycopg.Connection, folder: Path) -> None:
    (folder / "0901_broken.sql").write_text("create table slipway.half (); select 1/0;")
    with pytest.raises(errors.DivisionByZero):
        migrate(owner, folder)
    assert owner.execute("select to_regnamespace('slipway')").fetchone() == (None,)
    (folder / "0901_broken.sql").write_text("create table slipway.half ();")
    assert migrate(owner, folder) == (*KNOWN, "0901_broken")
