"""The whole ladder over real copies of Pagila: a sound one holds, and each fault is found by its rung."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from blocks.databases.postgresql import PostgresqlDatabase
from blocks.scratch.postgresql import PostgresqlScratch
from tasks.common.backups import Form, RestoreTo, Rung, RungOutcome
from tasks.verification import rungs
from tasks.verification.ladder import conclude
from tasks.verification.model import DatabaseFacts
from tests.support.postgresql import Cluster
from tests.support.verifying import (
    NAME,
    CopyingEngine,
    base_backup,
    climb_all,
    dump,
    outcomes,
    source,
    superuser_address,
    within,
)

pytestmark = pytest.mark.server
UP_TO_PAGES = ["freshness", "repository", "restore"]


def of(climbed: list[Rung], name: str) -> Rung:
    return next(each for each in climbed if each.name == name)


def told(climbed: list[Rung]) -> str:
    return "\n".join(f"{each.name}: {each.outcome} {each.took_s:.2f} s: {each.said}" for each in climbed)


def definitions(session: psycopg.Connection) -> list[str]:
    """Return how PostgreSQL writes what it has parsed."""
    found = session.execute(
        "select pg_get_constraintdef(oid) from pg_constraint where conrelid = 't'::regclass "
        "union all select pg_get_viewdef('v'::regclass)"
    )
    return [text for (text,) in found.fetchall()]


def file_of(cluster: Cluster, relation: str) -> str:
    """Return the path of a table's or index's file below the data folder."""
    with within(superuser_address(cluster)) as session:
        session.execute("checkpoint")
        row = session.execute("select pg_relation_filepath(%s)", [relation]).fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture(scope="module")
def faulty(pagila: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base backup with a database whose meaning was damaged in five ways before, as a user or an attacker would."""
    name = "faulty"
    with within(superuser_address(pagila, "postgres")) as session:
        session.execute(f"create database {name} template {NAME}")
    with within(superuser_address(pagila, name)) as session:
        session.execute("drop table public.film_category cascade")
        session.execute("set session_replication_role = replica")
        session.execute("delete from public.customer where customer_id in (3, 5)")
        session.execute("set session_replication_role = origin")
        session.execute("delete from public.payment_p2022_03")
        session.execute("select setval('public.actor_actor_id_seq', 7)")
        session.execute("update public.slipway_heartbeat set at = at - interval '10 min'")
        session.execute("alter table public.film alter column title drop not null")
    path = base_backup(pagila, tmp_path_factory.mktemp("faulty") / "base")
    yield path


def test_sound_copy_holds_on_every_rung_and_gives_rpo_and_rto(
    backup: Path, scratch: PostgresqlScratch, database: PostgresqlDatabase, facts: DatabaseFacts
) -> None:
    began = database.moment().at
    climbed = climb_all(CopyingEngine(backup), scratch, database, facts, rpo_s=600)
    assert set(outcomes(climbed).values()) == {"held"}, told(climbed)
    found = conclude("pagila/1/copy", "run", began, database.moment().at, climbed)
    assert found.sound
    assert found.rto_s is not None and found.rto_s >= of(climbed, "restore").took_s
    assert found.rpo_s is not None and 0 < found.rpo_s < 600
    assert of(climbed, "page checksums").facts["blocks scanned"] > 1000  # type: ignore[operator]


def test_flipped_byte_in_a_cold_page_breaks_the_page_checksums(
    pagila: Cluster,
    backup: Path,
    tmp_path: Path,
    scratch: PostgresqlScratch,
    database: PostgresqlDatabase,
    facts: DatabaseFacts,
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(backup, damaged, symlinks=True)
    where = file_of(pagila, "public.film_actor")
    with (damaged / where).open("r+b") as file:
        file.seek(2 * 8192 + 8000)
        byte = file.read(1)
        file.seek(2 * 8192 + 8000)
        file.write(bytes([byte[0] ^ 0xFF]))
    climbed = climb_all(CopyingEngine(damaged), scratch, database, facts, rpo_s=600)
    assert [each.name for each in climbed if each.outcome is RungOutcome.HELD] == UP_TO_PAGES, told(climbed)
    broken = of(climbed, "page checksums")
    assert broken.outcome is RungOutcome.BROKEN
    assert f"{where}: block 2" in broken.said
    assert of(climbed, "structure").said == "the rung 'page checksums' below it is broken"
    assert not conclude("e", "r", database.moment().at, database.moment().at, climbed).sound


def test_index_that_misses_a_row_breaks_the_structure_though_all_pages_are_whole(
    pagila: Cluster,
    tmp_path: Path,
    scratch: PostgresqlScratch,
    database: PostgresqlDatabase,
    facts: DatabaseFacts,
) -> None:
    name = "public.idx_title"
    with within(superuser_address(pagila)) as session:
        ready = "update pg_index set indisready = {} where indexrelid = '{}'::regclass"
        session.execute(ready.format("false", name))
        # Not a HOT update of an indexed column: the index that is not ready gets no entry of the new version.
        session.execute("update public.film set title = 'secret contents' where film_id = 9")
        session.execute(ready.format("true", name))
        try:
            damaged = base_backup(pagila, tmp_path / "damaged")
        finally:
            session.execute(f"reindex index {name}")
    climbed = climb_all(CopyingEngine(damaged), scratch, database, facts, rpo_s=600)
    held = [each.name for each in climbed if each.outcome is RungOutcome.HELD]
    assert held == [*UP_TO_PAGES, "page checksums"], told(climbed)
    broken = of(climbed, "structure")
    assert broken.outcome is RungOutcome.BROKEN
    assert "idx_title" in broken.said
    assert "secret contents" not in str(broken)


def test_damaged_meaning_is_named_object_by_object_without_contents(
    faulty: Path, scratch: PostgresqlScratch, database: PostgresqlDatabase, facts: DatabaseFacts
) -> None:
    climbed = climb_all(CopyingEngine(faulty), scratch, database, facts, rpo_s=600)
    # The sound database of the same copy is as it was; the keys and sequences of all are looked at.
    assert outcomes(climbed) == {
        **dict.fromkeys([*UP_TO_PAGES, "page checksums", "structure", "full read"], "held"),
        "schema": "held",
        "row counts": "held",
        "sequences": "broken",
        "foreign keys": "broken",
        "heartbeat": "left out",
    }, told(climbed)
    assert "faulty: public.actor_actor_id_seq gives 8, public.actor.actor_id is at 200" in of(climbed, "sequences").said
    orphans = of(climbed, "foreign keys").facts["orphans"]
    assert isinstance(orphans, dict)
    assert orphans["faulty: public.rental rental_customer_id_fkey"]["keys"] == ["3", "5"]

    copy = scratch.database("faulty")
    schema = rungs.schema((), Form.CLUSTER, facts, copy)
    assert schema.outcome is RungOutcome.BROKEN
    missing = schema.facts["missing"]
    assert isinstance(missing, tuple)
    assert {"table public.film_category", "column public.film_category.film_id"} <= set(missing)
    assert schema.facts["changed"] == ("column public.film.title",)
    counts = rungs.counts((), Form.CLUSTER, rungs.Bands(facts.rows), copy)
    assert counts.facts["off"] == {
        "public.film_category": "not there; 2367 expected",
        "public.payment_p2022_03": "0; 2713 expected",
    }
    heartbeat = rungs.heartbeat((), Form.CLUSTER, database.moment().at, copy, 300)
    assert heartbeat.outcome is RungOutcome.BROKEN
    assert isinstance(heartbeat.facts["rpo_s"], float) and heartbeat.facts["rpo_s"] > 600


def test_dump_is_loaded_and_its_meaning_is_looked_at(
    pagila: Cluster,
    tmp_path: Path,
    scratch: PostgresqlScratch,
    database: PostgresqlDatabase,
    facts: DatabaseFacts,
) -> None:
    engine = CopyingEngine(dump(pagila, tmp_path / "dump"), Form.DUMP)
    climbed = climb_all(engine, scratch, database, facts, rpo_s=600)
    left_out = {"page checksums": "left out", "structure": "left out"}
    assert outcomes(climbed) == {**dict.fromkeys(outcomes(climbed), "held"), **left_out}, told(climbed)


def test_definition_that_a_dump_writes_otherwise_is_the_same(
    pagila: Cluster, tmp_path: Path, scratch: PostgresqlScratch
) -> None:
    with within(superuser_address(pagila, "postgres")) as session:
        session.execute("create database written")
    with within(superuser_address(pagila, "written")) as session:
        session.execute("create table t (state varchar(9) check (state in ('on', 'off')), at int default 3)")
        session.execute("create view v as select * from t where state in ('on', 'off') and at > 2.5")
        written = definitions(session)
    before = source(tmp_path, pagila, "written").facts()
    engine = CopyingEngine(dump(pagila, tmp_path / "dump", "written"), Form.DUMP)
    engine.restore(RestoreTo(), scratch.open(), lambda _: None)
    scratch.replay(Form.DUMP)
    scratch.serve()
    with psycopg.connect(scratch.address("written")) as session:
        assert definitions(session) != written
    rung = rungs.schema((), Form.DUMP, before, scratch.database("written"))
    assert rung.outcome is RungOutcome.HELD, rung.said


def test_dump_that_is_cut_short_breaks_the_restore(
    pagila: Cluster, tmp_path: Path, scratch: PostgresqlScratch, database: PostgresqlDatabase, facts: DatabaseFacts
) -> None:
    damaged = dump(pagila, tmp_path / "dump")
    largest = max(damaged.glob("*.dat.gz"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:4000])
    climbed = climb_all(CopyingEngine(damaged, Form.DUMP), scratch, database, facts, rpo_s=600)
    assert [each.name for each in climbed if each.outcome is RungOutcome.BROKEN] == ["restore"]
    assert "the dump cannot be loaded" in of(climbed, "restore").said


def test_copy_without_its_control_file_breaks_the_restore(
    backup: Path, tmp_path: Path, scratch: PostgresqlScratch, database: PostgresqlDatabase, facts: DatabaseFacts
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(backup, damaged, symlinks=True)
    (damaged / "global/pg_control").unlink()
    climbed = climb_all(CopyingEngine(damaged), scratch, database, facts, rpo_s=600)
    assert [each.name for each in climbed if each.outcome is RungOutcome.BROKEN] == ["restore"]


def test_copy_whose_wal_is_missing_breaks_the_restore(
    backup: Path, tmp_path: Path, scratch: PostgresqlScratch, database: PostgresqlDatabase, facts: DatabaseFacts
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(backup, damaged, symlinks=True)
    for segment in (damaged / "pg_wal").glob("0*"):
        segment.unlink()
    climbed = climb_all(CopyingEngine(damaged), scratch, database, facts, rpo_s=600)
    broken = of(climbed, "restore")
    assert broken.outcome is RungOutcome.BROKEN
    assert "does not start" in broken.said and "FATAL" in broken.said


def test_backup_that_is_older_than_the_objective_breaks_freshness_and_is_restored_all_the_same(
    backup: Path, scratch: PostgresqlScratch, database: PostgresqlDatabase, facts: DatabaseFacts
) -> None:
    engine = CopyingEngine(backup)
    now = database.moment()
    old = now.at - timedelta(hours=2)
    engine.reaches = lambda repository=1: old  # type: ignore[method-assign]
    rung = rungs.freshness((), engine, now, 300)
    assert rung.outcome is RungOutcome.BROKEN
    assert "2 h ago" in rung.said
    restored = rungs.repository_check([rung], engine, "copy")
    assert restored.outcome is RungOutcome.HELD
