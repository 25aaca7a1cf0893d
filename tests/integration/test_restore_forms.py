"""The flow `restore` with what is no cluster: a dump, files and a Redis snapshot, by their real programs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyrage
import pytest
import yaml

from blocks.backups.redis_snapshot import SNAPSHOT
from blocks.targets.records import read_journal
from tasks.common.errors import SlipwayError
from tasks.restore.model import Phase
from tests.integration.test_verify_flow import PLAN, SHOP, shop
from tests.support.backup_engines import Damage, largest, spoil
from tests.support.docs import ROOT
from tests.support.postgresql import Cluster
from tests.support.processes import wait_until
from tests.support.redis import running_redis
from tests.support.restic import make_cheap_repository
from tests.support.restoring import Restored, RestorePlace, Target, folder_place, restore_place
from tests.support.verifying import superuser_address

pytestmark = [pytest.mark.server, pytest.mark.slow]

PASSWORD = "the-password-of-the-repository"
KEY = "a-planted-masking-key"


def sealed(place: RestorePlace, driver: str, **settings: Any) -> dict[str, Any]:
    """Return an engine that seals its backups for a key of its own."""
    key = pyrage.x25519.Identity.generate()
    (place.folder / "identity").write_text(str(key))
    place.secrets += (str(key),)
    kept = {"repositories": ["one"], "recipients": [str(key.to_public())], "identity": "file:identity"}
    return {"driver": driver, **kept, **settings}


def in_folders(place: RestorePlace) -> dict[str, Any]:
    """Return how backups without a database are verified."""
    return {"scratch": {"driver": "folder", "folder": str(place.scratch)}}


def approved(place: RestorePlace, to: str) -> Restored:
    """It was proven, asked, approved, and done."""
    run_id = place.begin(to)
    (verified,) = place.open().ledger.catalogue.verifications(PLAN, 1)
    assert verified.run_id == run_id and verified.sound, "it was proven before anybody was asked"
    place.answer(run_id, "approve")
    return place.go_on(run_id, to)


def refused(error: SlipwayError, why: str) -> None:
    assert why in error.what and all((error.on, error.state, error.next_action)), error


class TestFiles:
    @pytest.fixture
    def place(self, database_url: str, prefect_api: str) -> Iterator[RestorePlace]:
        with folder_place(database_url, prefect_api) as place:
            place.secrets = (PASSWORD,)
            (place.folder / "password").write_text(PASSWORD)
            make_cheap_repository(place.folder / "one", PASSWORD)
            uploads = place.folder / "srv/uploads"
            (uploads / "deep").mkdir(parents=True)
            (uploads / "text").write_text("as of the backup")
            (uploads / "deep/link").symlink_to("../text")
            (uploads / "deep/large").write_bytes(os.urandom(2**20))
            uploads.chmod(0o751)
            yield place

    @pytest.fixture
    def engine(self, place: RestorePlace) -> dict[str, Any]:
        return {"driver": "restic", "repositories": ["one"], "paths": ["srv/uploads"], "password": "file:password"}

    def test_files_come_back_where_they_were_and_what_was_there_is_aside(
        self, place: RestorePlace, engine: dict[str, Any]
    ) -> None:
        uploads = place.folder / "srv/uploads"
        main = place.spot("main", at="srv/uploads", source=True, part=str(uploads))
        place.describe(engine, verification=in_folders(place))
        entry = place.take()
        (uploads / "text").write_text("spoiled since")
        ran = approved(place, "main")
        ran.require_up()
        assert (uploads / "deep/link").read_text() == "as of the backup"
        assert (uploads / "deep/large").stat().st_size == 2**20 and uploads.stat().st_mode & 0o777 == 0o751
        (aside,) = main.asides
        assert (aside / "text").read_text() == "spoiled since"
        text = ran.artifact
        assert "**It is in its place**: it came back as of the backup, which was begun at" in text
        assert entry.id in text and f"'mv {aside} {uploads}'" in text and "3 files" in text

    @pytest.mark.long
    def test_damage_in_the_repository_brings_the_former_files_back(
        self, place: RestorePlace, engine: dict[str, Any]
    ) -> None:
        main = place.spot("main")
        place.describe(engine, verification=in_folders(place))
        place.take()
        ran = place.restore("main")
        ran.require_up()
        whole = place.folder.relative_to("/") / "srv/uploads/text"
        assert (main.data / whole).read_text() == "as of the backup", "under its whole path"
        assert "'part' of the target" in ran.artifact
        (main.data / "later").touch()
        run_id = place.begin("main")
        place.answer(run_id, "approve")
        pack = largest(place.folder / "one/data", "*")
        pack.chmod(0o600)
        spoil(pack, Damage.FLIPPED)
        ran = place.go_on(run_id, "main")
        assert "BroughtBack" in ran.said and "the former state is in its place again" in ran.said
        assert (main.data / "later").exists() and main.beside() == []
        assert "the backup is not sound" in place.restore("main").error.what, "it is not even asked for any more"
        assert (main.data / "later").exists() and main.beside() == []

    def test_what_files_cannot_give_is_refused_and_nothing_is_touched(
        self, place: RestorePlace, engine: dict[str, Any]
    ) -> None:
        spare, server = place.spot("spare"), place.target("server")
        masked = place.spot("masked")
        masked.spec |= {"masking": "masking.yaml", "database": SHOP}
        place.describe(engine, verification=in_folders(place))
        place.take()
        refused(place.restore("spare", at=datetime.now(UTC)).error, "no points in time")
        refused(place.restore("masked").error, "'masking' and 'database'")
        refused(place.restore("server").error, "takes backups of the form cluster or dump, and the plan's are files")
        assert not any(each.data.exists() or each.beside() for each in (spare, server, masked))


@pytest.mark.long
def test_redis_starts_on_what_was_restored_and_is_not_put_aside_while_it_runs(
    database_url: str, prefect_api: str, tmp_path: Path
) -> None:
    with folder_place(database_url, prefect_api) as place, running_redis(tmp_path) as source:
        place.secrets = (source.password,)
        (place.folder / "password").write_text(source.password)
        spare = place.spot("spare")
        engine = sealed(place, "redis", host="127.0.0.1", port=source.port, password="file:password")
        place.describe(engine, verification=in_folders(place))
        source.ask("SET", "course", "as of the backup")
        place.take()
        source.ask("SET", "course", "changed since")
        ran = place.restore("spare")
        ran.require_up()
        assert "appendonly no" in ran.artifact and "nothing was started" in ran.artifact and "1 key" in ran.artifact
        (place.folder / "other").mkdir()
        with running_redis(place.folder / "other", spare.data) as other:
            assert other.ask("GET", "course") == "as of the backup"
            refused(place.restore("spare").error, "redis-server (")
            other.ask("SET", "course", "of the former")
            other.ask("SAVE")
        refused(place.restore("spare", at=datetime.now(UTC)).error, "no points in time")
        approved(place, "spare").require_up()
        with running_redis(place.folder / "other", spare.data) as other:
            assert other.ask("GET", "course") == "as of the backup"
        (aside,) = spare.asides
        with running_redis(place.folder / "other", aside) as other:
            assert other.ask("GET", "course") == "of the former"
        assert spare.beside() == [aside.name] and (spare.data / SNAPSHOT).exists()


class TestDump:
    @pytest.fixture(scope="class")
    def cluster(self) -> Iterator[Cluster]:
        with shop() as cluster:
            yield cluster

    @pytest.fixture
    def place(self, cluster: Cluster, database_url: str, prefect_api: str) -> Iterator[RestorePlace]:
        with restore_place(cluster, database_url, prefect_api) as place:
            (place.folder / "database").write_text(superuser_address(cluster, SHOP))
            place.target("main")
            place.describe(sealed(place, "pg_dump", database="file:database"))
            place.take()
            yield place

    @pytest.mark.long
    def test_dump_is_loaded_into_a_new_server_that_lets_nobody_in_and_then_over_it(self, place: RestorePlace) -> None:
        main = place.targets["main"]
        ran = place.restore("main")
        ran.require_up()
        text = ran.artifact
        assert "**It is up**: the newest heartbeat that came back is of " in text and "which was begun at" in text
        assert "roles, passwords, owners, rights" in text and "archives nothing" in text and "statistics" in text
        assert main.beside() == [], "the dump, which is not encrypted, is gone"
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            main.rows("select 1")
        let_in(main)
        assert main.rows("select count(*) from purchase") == [(300,)]
        assert main.rows("select datname from pg_database where not datistemplate order by 1") == [
            ("postgres",),
            (SHOP,),
        ]
        main.execute("create table later (id int)")
        approved(place, "main").require_up()
        assert main.rows("select to_regclass('later') is null, count(*) from customer") == [(True, 300)]
        assert [each.name for each in main.asides] == main.beside()

    @pytest.mark.long
    def test_killed_while_a_dump_is_loaded_the_next_run_brings_the_former_server_back_and_asks_anew(
        self, place: RestorePlace
    ) -> None:
        main = place.targets["main"]
        place.restore("main").require_up()
        let_in(main)
        main.execute("create table later (id int)")
        run_id = place.begin("main")
        place.answer(run_id, "approve")
        argv = [sys.executable, "-c", _GO_ON, place.api, run_id]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            wait_until(lambda: loads(main), within_s=60, what="the dump is being loaded", every_s=0.005)
            process.send_signal(signal.SIGKILL)
        assert not main.serves, "nobody reaches what is half restored"
        place.begin("main")
        assert main.serves and main.rows("select count(*) from later") == [(0,)], "the former state serves, and it asks"
        assert main.beside() == []

    @pytest.mark.long
    def test_masked_dump_has_nothing_personal_left_in_any_file(self, place: RestorePlace) -> None:
        staging = place.target("staging", masking="masking.yaml")
        (place.folder / "mask-key").write_text(KEY)
        rules = {"key": "file:mask-key", "masking": {"customer.mail": {"rule": "email"}}}
        (place.folder / "masking.yaml").write_text(yaml.safe_dump(rules))
        place.describe(sealed(place, "pg_dump", database="file:database"))
        place.take()
        place.restore("staging").require_up()
        let_in(staging)
        assert staging.rows("select count(*), count(*) filter (where mail like 'u%@masked.invalid') from customer") == [
            (300, 300)
        ]
        staging.end()
        planted = [path for path in place.folder.glob("staging*/**/*") if path.is_file() and holds(path)]
        assert planted == []

    def test_what_a_dump_cannot_give_is_refused_and_nothing_is_touched(self, place: RestorePlace) -> None:
        spot = place.spot("spot")
        place.describe(sealed(place, "pg_dump", database="file:database"))
        refused(place.restore("main", at=datetime.now(UTC)).error, "no points in time")
        refused(place.restore("spot").error, "takes backups of the form files or rdb, and the plan's are dump")
        with pytest.raises(SlipwayError, match=r"PostgreSQL 9 is not installed"):
            place.driver("main").check(place.open().backup(PLAN).form, "9.6.24")
        assert not any(each.data.exists() or each.beside() for each in (place.targets["main"], spot))


def holds(file: Path) -> bool:
    return b"person-217@example.org" in file.read_bytes()


def loads(main: Target) -> bool:
    """Return whether the new cluster is there, and the restore has not come further."""
    journal = read_journal(main.data)
    return journal is not None and journal.phase is Phase.RECOVERING and (main.data / "global/pg_control").exists()


def let_in(main: Target) -> None:
    """Everybody on this machine is let in, as a person would do it."""
    (main.data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")
    number = int((main.data / "postmaster.pid").read_text().split("\n")[0])
    os.kill(number, signal.SIGHUP)
    wait_until(lambda: main.serves, what="it lets us in")


_GO_ON = """
import sys
from uuid import UUID
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from flows.restore import restore
from tests.support.prefect_server import flows_of
with flows_of(sys.argv[1]), get_client(sync_client=True) as client:
    run = client.read_flow_run(UUID(sys.argv[2]))
    run_flow(restore, flow_run=run, parameters=run.parameters)
"""
