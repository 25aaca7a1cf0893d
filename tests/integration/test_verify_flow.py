"""The flow `verify-backup` on real servers: what holds is on record, and every fault is found by its rung."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyrage
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, TaskRun

from blocks.estate import OpenEstate, open_estate
from blocks.scratch.rooms import clear_dead
from flows.verify_backup import verify_backup
from tasks.common.backups import BackupKind, Entry, RungOutcome, Verification, backup_id
from tasks.common.errors import Retryable, SlipwayError
from tasks.verification.request import VerifyRequest
from tests.integration.test_backups_command import ESTATE
from tests.support.backup_engines import Damage, largest, pgbackrest, spoil
from tests.support.docs import ROOT
from tests.support.events import names_of
from tests.support.postgresql import SUPERUSER, Cluster, running_cluster
from tests.support.prefect_server import flows_of
from tests.support.processes import quick_folder, short_folder, wait_until
from tests.support.verifying import source, superuser_address, within

pytestmark = [pytest.mark.server, pytest.mark.slow]
PLAN, SHOP = "shop-db", "shop"
FOREVER = {"rto": "1h", "rpo": "1h"}
TABLES = """
create extension if not exists amcheck;
drop table if exists purchase, customer;
create table customer (id int generated always as identity primary key, mail text not null);
create table purchase (id int generated always as identity primary key, customer int not null references customer);
insert into customer (mail) select 'person-' || n || '@example.org' from generate_series(1, 300) n;
insert into purchase (customer) select id from customer;
"""
SUITE = """
table: customer
expectations:
  - type: expect_column_values_to_match_regex
    column: mail
    regex: "^[^@]+@[^@]+$"
    why: a bill is sent there
"""


class Place:
    """An estate with one backup plan, whose catalogue the test fills."""

    def __init__(self, folder: Path, scratch: Path, ledger: str, api: str) -> None:
        self.folder, self.scratch, self.api = folder, scratch, api
        (folder / "dsn").write_text(ledger)
        self.secrets: tuple[str, ...] = ()

    def plan(
        self,
        engine: dict[str, Any],
        *,
        name: str = SHOP,
        expectations: str = "",
        scratch: Mapping[str, str] = MappingProxyType({}),
        **plan: Any,
    ) -> OpenEstate:
        """The estate file has the plan; returns the estate."""
        how = {
            "database": {"driver": "postgresql", "address": "file:address"},
            "scratch": {"driver": "postgresql", "folder": str(self.scratch), "superuser": SUPERUSER, **scratch},
            "name": name,
            **({"expectations": expectations} if expectations else {}),
        }
        wanted = {"engine": engine, "objectives": FOREVER, "lease": "5s", "verification": how, **plan}
        wanted = {key: value for key, value in wanted.items() if value is not None}
        (self.folder / "estate.yaml").write_text(ESTATE + yaml.safe_dump({"backups": {PLAN: wanted}}))
        return self.open()

    def open(self) -> OpenEstate:
        return open_estate(str(self.folder / "estate.yaml"))

    def take(self) -> Entry:
        """A backup is taken, and in the catalogue."""
        estate = self.open()
        stored = estate.backup(PLAN).take(BackupKind.FULL, lambda _: None)
        driver = estate.backup_plan(PLAN).engine.driver
        entry = Entry(backup_id(PLAN, 1, stored.label), PLAN, driver, 1, stored, "sha256:" + "0" * 64, "by-hand")
        estate.ledger.prepare()
        estate.ledger.catalogue.add(entry)
        return entry

    def verify(self, which: str = "newest") -> "Ran":
        with flows_of(self.api):
            request = VerifyRequest(plan=PLAN, which=which, estate=str(self.folder / "estate.yaml"))
            return Ran(self, verify_backup(request, return_state=True))


class Ran:
    """A run of the flow that has ended."""

    def __init__(self, place: Place, state: State) -> None:
        self.place, self.state = place, state
        assert state.state_details.flow_run_id is not None
        self.id = state.state_details.flow_run_id
        assert not list(place.scratch.glob("room-*")), "nothing is left of the scratch server"

    @property
    def error(self) -> SlipwayError:
        assert self.state.is_failed(), self.state
        found = self.state.result(raise_on_failure=False)
        assert isinstance(found, SlipwayError), found
        return found

    @property
    def found(self) -> Verification:
        """Return what is on record of it."""
        (found,) = (each for each in self._verifications() if each.run_id == str(self.id))
        return found

    def outcomes(self) -> dict[str, RungOutcome]:
        return {rung.name: rung.outcome for rung in self.found.rungs}

    def artifact(self, kind: str) -> str:
        return self.artifact_with(f"{kind}-{PLAN}")

    def artifact_with(self, key: str) -> str:
        with flows_of(self.place.api), get_client(sync_client=True) as client:
            wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[self.id]))
            (data,) = (a.data for a in client.read_artifacts(artifact_filter=wanted) if a.key == key)
        text = str(data)
        assert not [secret for secret in self.place.secrets if secret in text]
        return text

    def tasks(self) -> dict[str, TaskRun]:
        with flows_of(self.place.api), get_client(sync_client=True) as client:
            runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[self.id])))
        return {run.name: run for run in runs}

    def _verifications(self) -> tuple[Verification, ...]:
        return self.place.open().ledger.catalogue.verifications(PLAN, 10)


@contextmanager
def shop() -> Iterator[Cluster]:
    """A cluster of its own, with the shop's tables."""
    with quick_folder() as folder, running_cluster(folder) as cluster:
        with within(superuser_address(cluster, "postgres")) as session:
            session.execute(f"create database {SHOP}")
        with within(superuser_address(cluster, SHOP)) as session:
            session.execute(TABLES)
        yield cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with shop() as cluster:
        yield cluster


@pytest.fixture
def address(cluster: Cluster) -> str:
    """The address of the source, which is as it should be and has a heartbeat."""
    found = superuser_address(cluster, SHOP)
    with within(found) as session:
        session.execute(TABLES)
    return found


@contextmanager
def placed(cluster: Cluster, ledger: str, api: str, database: str = SHOP) -> Iterator[Place]:
    with quick_folder() as folder, short_folder() as scratch:
        place = Place(folder, scratch, ledger, api)
        place.secrets = (cluster.password,)
        (folder / "password").write_text(cluster.password)
        source(folder, cluster, database).beat()
        try:
            yield place
        finally:
            clear_dead(scratch)


@pytest.fixture
def place(cluster: Cluster, address: str, database_url: str, prefect_api: str) -> Iterator[Place]:
    assert address
    with placed(cluster, database_url, prefect_api) as place:
        yield place


@pytest.fixture
def basebackup(cluster: Cluster) -> dict[str, Any]:
    return {
        "driver": "pg_basebackup",
        "port": cluster.port,
        "role": SUPERUSER,
        "password": "file:password",
        "repositories": ["one"],
    }


def test_sound_backup_is_on_record_as_verified_with_rpo_and_rto(place: Place, basebackup: dict[str, Any]) -> None:
    place.plan(basebackup)
    entry = place.take()
    ran = place.verify()
    assert ran.state.is_completed(), ran.state.message
    found = ran.found
    assert found.entry_id == entry.id and found.sound
    assert found.rpo_s is not None and 0 < found.rpo_s < 600
    assert found.rto_s is not None and 0 < found.rto_s < 600
    left_out = {name for name, outcome in ran.outcomes().items() if outcome is not RungOutcome.HELD}
    assert left_out == {"expectations"} | ({"page checksums"} & left_out), found.rungs
    kept = place.open().ledger.catalogue.entry(entry.id)
    assert kept.verified_at == found.ended_at and kept.unsound_at is None
    text = ran.artifact("verification")
    assert "**Sound: it was restored, and what came back is right.**" in text
    assert "- RPO " in text and "- RTO " in text and "the objective is 1 h" in text
    assert "| row counts | held |" in text and "## Trend" in text and "░" in text
    assert "all 1 plans are well" in ran.artifact_with("backups")
    assert names_of(place.api, str(ran.id)) == ["slipway.backup.verified"]
    rungs = ran.tasks()
    assert rungs["row counts"].state_name == "Held"
    assert rungs["expectations"].state_name == "LeftOut"


def test_flipped_byte_in_the_repository_fails_the_run_and_names_the_rung(
    place: Place, basebackup: dict[str, Any]
) -> None:
    place.plan(basebackup)
    entry = place.take()
    spoil(largest(place.folder / "one" / entry.stored.label / "data" / "base", "*"), Damage.FLIPPED)
    ran = place.verify(entry.id)
    assert ran.error.what.startswith("the backup is not sound: repository: "), ran.error
    assert ran.error.on == entry.id and "'slipway backups'" in ran.error.next_action
    assert ran.outcomes()["repository"] is RungOutcome.BROKEN
    assert ran.outcomes()["restore"] is RungOutcome.LEFT_OUT
    kept = place.open().ledger.catalogue.entry(entry.id)
    assert kept.unsound_at is not None and kept.verified_at is None
    assert "**Not sound: repository: " in ran.artifact("verification")
    assert "**1 of 1 plans need somebody**" in ran.artifact_with("backups")
    assert names_of(place.api, str(ran.id)) == ["slipway.backup.unsound"]
    assert ran.tasks()["repository"].state_name == "Broken"


@pytest.mark.long
def test_table_that_the_backup_has_not_breaks_the_schema(
    place: Place, basebackup: dict[str, Any], address: str
) -> None:
    place.plan(basebackup)
    with within(address) as session:
        session.execute("drop table purchase")
    place.take()
    with within(address) as session:
        session.execute(TABLES)
    ran = place.verify("least-recently-verified")
    assert ran.error.what.startswith("the backup is not sound: schema: the schema of shop differs")
    assert "public.purchase" in ran.error.what
    assert ran.outcomes()["row counts"] is RungOutcome.BROKEN


@pytest.mark.long
def test_broken_expectation_is_told_with_the_keys_of_its_rows_and_not_with_what_is_in_them(
    place: Place, address: str
) -> None:
    identity = pyrage.x25519.Identity.generate()
    (place.folder / "identity").write_text(str(identity))
    place.secrets += (str(identity), "nobody-at-all")
    (place.folder / "expectations").mkdir()
    (place.folder / "expectations/customer.yaml").write_text(SUITE)
    engine = {"driver": "pg_dump", "database": "file:address", "repositories": ["one"], "identity": "file:identity"}
    place.plan({**engine, "recipients": [str(identity.to_public())]}, expectations="expectations")
    with within(address) as session:
        session.execute("update customer set mail = 'nobody-at-all' where id = 217")
    place.take()
    ran = place.verify()
    assert ran.error.what.startswith("the backup is not sound: expectations: "), ran.error
    broken = [name for name, outcome in ran.outcomes().items() if outcome is RungOutcome.BROKEN]
    assert broken == ["expectations"]
    text = ran.artifact("expectations")
    assert "217" in text and "a bill is sent there" in text
    ran.artifact("verification")


def test_mistake_in_a_suite_is_refused_before_anything_is_restored(place: Place, basebackup: dict[str, Any]) -> None:
    (place.folder / "expectations").mkdir()
    (place.folder / "expectations/customer.yaml").write_text(SUITE.replace("regex:", "rege:"))
    place.plan(basebackup, expectations="expectations")
    entry = place.take()
    ran = place.verify()
    assert "mistakes" in ran.error.what
    assert place.open().ledger.catalogue.verifications(PLAN, 1) == ()
    assert place.open().ledger.catalogue.entry(entry.id).unsound_at is None


@pytest.mark.long
def test_backup_of_a_plan_without_a_scratch_server_is_read_and_never_called_sound(
    place: Place, basebackup: dict[str, Any]
) -> None:
    place.plan(basebackup, verification=None)
    entry = place.take()
    ran = place.verify()
    assert ran.state.is_completed(), ran.state.message
    assert not ran.found.sound and not ran.found.unsound
    kept = place.open().ledger.catalogue.entry(entry.id)
    assert (kept.verified_at, kept.unsound_at) == (None, None)
    assert "**Nothing was restored: it was only read where it lies, which proves no backup.**" in ran.artifact(
        "verification"
    )


@pytest.mark.long
def test_source_that_is_away_is_told_of_and_its_backup_is_restored_all_the_same(
    place: Place, basebackup: dict[str, Any], cluster: Cluster
) -> None:
    place.plan(basebackup)
    place.take()
    cluster.stop()
    try:
        ran = place.verify()
    finally:
        cluster.start()
    assert ran.state.is_completed(), ran.state.message
    assert ran.outcomes()["restore"] is RungOutcome.HELD
    assert ran.outcomes()["schema"] is ran.outcomes()["row counts"] is RungOutcome.LEFT_OUT
    text = ran.artifact("verification")
    assert "the source could not be observed" in text and "clock stands for the source" in text


@pytest.mark.long
def test_archive_that_stopped_fails_the_run_and_says_nothing_against_the_backup(
    place: Place, basebackup: dict[str, Any]
) -> None:
    place.plan(basebackup, objectives={"rto": "1h", "rpo": "1ms"})
    entry = place.take()
    ran = place.verify()
    assert ran.error.what.startswith("what came back is right, and too old: freshness: "), ran.error
    kept = place.open().ledger.catalogue.entry(entry.id)
    assert (kept.verified_at, kept.unsound_at) == (None, None)
    assert ran.outcomes()["restore"] is RungOutcome.HELD


@pytest.mark.long
def test_restore_that_takes_too_long_is_tried_again_from_its_beginning_and_proves_nothing(
    place: Place, basebackup: dict[str, Any]
) -> None:
    place.plan(basebackup, scratch={"start_within": "1ms"})
    entry = place.take()
    ran = place.verify()
    # A second restore into the folder of the first would be refused, and called a broken rung.
    assert isinstance(ran.error, Retryable) and "was not ready within" in ran.error.what
    assert ran.tasks()[f"restore {entry.id}"].run_count == 3
    catalogue = place.open().ledger.catalogue
    assert catalogue.verifications(PLAN, 1) == () and catalogue.entry(entry.id).unsound_at is None


@pytest.mark.long
def test_run_after_one_that_was_killed_removes_what_it_has_left_and_succeeds(
    place: Place, basebackup: dict[str, Any]
) -> None:
    place.plan(basebackup)
    entry = place.take()
    asked = f"verify_backup(VerifyRequest(plan={PLAN!r}, estate={str(place.folder / 'estate.yaml')!r}))"
    code = f"from flows.verify_backup import VerifyRequest, verify_backup; {asked}"
    env = {**os.environ, "PREFECT_API_URL": place.api, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=-3, stderr=-3)
    try:
        wait_until(lambda: list(place.scratch.glob("room-*/server.pid")), within_s=60, what="a scratch server")
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert list(place.scratch.glob("room-*/server.pid")), "it was killed with its server running"
    assert place.open().ledger.catalogue.verifications(PLAN, 1) == ()
    ran = place.verify()
    assert ran.state.is_completed(), ran.state.message
    assert place.open().ledger.catalogue.entry(entry.id).verified_at is not None


@pytest.mark.long
def test_backup_of_pgbackrest_is_restored_with_the_wal_after_it(
    database_url: str, prefect_api: str, tmp_path: Path
) -> None:
    with pgbackrest.rigs(tmp_path) as rigs, rigs(tmp_path) as rig:
        assert isinstance(rig, pgbackrest.PgBackRestRig)
        settings = rig.open()._settings
        with placed(rig.cluster, database_url, prefect_api, "postgres") as place:
            place.secrets += rig.secrets
            (place.folder / "key").write_text(pgbackrest.KEY)
            engine = settings.model_dump(mode="json", by_alias=True, exclude_unset=True)
            engine["repositories"] = [
                {"path": str(rig.folder / name), "cipher_pass": "file:key"} for name in ("one", "two")
            ]
            place.plan({"driver": "pgbackrest", **engine, "folder": str(rig.folder / "engine")}, name="postgres")
            entry = place.take()
            rig.write("in the WAL after it")
            source(place.folder, rig.cluster, "postgres").beat()
            rig.settle()
            ran = place.verify()
            assert ran.state.is_completed(), ran.state.message
            assert ran.found.entry_id == entry.id and ran.found.sound
            assert ran.found.rpo_s is not None
