"""What every database that is looked at says of itself."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from blocks import open_driver
from blocks.context import Context
from blocks.memory.database import MemoryDatabase
from tasks.common.errors import Retryable
from tasks.common.model import DriverSpec
from tasks.verification.model import Orphans, SequenceState
from tasks.verification.ports import Database
from tests.support.processes import free_port


@dataclass(frozen=True)
class Bench:
    """A database under test.

    Args:
        database: the driver.
        fill: makes the tables 'public.parent' and, with 2 rows and a sequence that is behind, 'public.child'.
        age: makes all heartbeats older by so much.
        vanish: nobody answers any more.
    """

    database: Database
    fill: Callable[[], None]
    age: Callable[[timedelta], None]
    vanish: Callable[[], None]


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.server)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    context = Context(base=tmp_path)
    if request.param == "memory":
        return memory(open_driver("database", DriverSpec(driver="memory"), context))
    url: str = request.getfixturevalue("database_url")
    (tmp_path / "address").write_text(url)
    spec = DriverSpec.model_validate({"driver": "postgresql", "address": "file:address"})
    return Bench(
        open_driver("database", spec, context),
        lambda: run(
            url,
            "create table parent (id int primary key)",
            "create table child (id serial primary key, parent int)",
            "insert into parent values (42)",
            "insert into child values (1, null), (9, 42)",
            "alter table child add constraint child_fk foreign key (parent) references parent",
        ),
        lambda by: run(url, f"update slipway_heartbeat set at = at - interval '{by.total_seconds()} s'"),
        lambda: (tmp_path / "address").write_text(f"postgresql://u:p@127.0.0.1:{free_port()}/d") and None,
    )


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        for statement in statements:
            session.execute(statement)


def memory(database: MemoryDatabase) -> Bench:
    def fill() -> None:
        database.tables = {"public.child": 2, "public.parent": 1}
        database.states = [SequenceState("public.child_id_seq", "public.child.id", 1, 9)]
        database.keys = [Orphans("public.child child_fk", 0)]

    def age(by: timedelta) -> None:
        database.beats = [each - by for each in database.beats]

    return Bench(database, fill, age, lambda: setattr(database, "down", True))


def test_tables_are_counted_and_each_object_has_a_digest(bench: Bench) -> None:
    bench.fill()
    facts = bench.database.facts()
    assert facts.rows == {"public.child": 2, "public.parent": 1}
    assert {"table public.child", "table public.parent"} <= set(facts.objects)
    assert facts == bench.database.facts()
    assert bench.database.facts(count_within_s=0).rows == dict.fromkeys(facts.rows)


def test_sequence_and_foreign_key_are_told_with_what_they_are_at(bench: Bench) -> None:
    bench.fill()
    assert bench.database.sequences() == (SequenceState("public.child_id_seq", "public.child.id", 1, 9),)
    assert bench.database.orphans() == (Orphans("public.child child_fk", 0),)


def test_heartbeat_is_found_and_is_no_part_of_the_facts(bench: Bench) -> None:
    assert bench.database.heartbeat() is None
    before = bench.database.facts()
    at = bench.database.beat()
    assert bench.database.heartbeat() == at
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=1)
    after = bench.database.facts()
    assert (after.objects, after.rows) == (before.objects, before.rows)


def test_heartbeats_of_the_last_hour_are_kept_and_older_ones_are_not(bench: Bench) -> None:
    first = bench.database.beat()
    bench.age(timedelta(minutes=50))
    assert bench.database.heartbeat() == first - timedelta(minutes=50)
    second = bench.database.beat()
    bench.age(timedelta(minutes=20))
    third = bench.database.beat()
    assert bench.database.heartbeat() == third > second


def test_moment_is_by_its_own_clock(bench: Bench) -> None:
    moment = bench.database.moment()
    assert abs(moment.at - datetime.now(UTC)) < timedelta(minutes=1)
    assert "/" in moment.lsn


def test_database_that_does_not_answer_may_be_asked_again(bench: Bench) -> None:
    bench.vanish()
    for ask in (bench.database.moment, bench.database.facts, bench.database.heartbeat, bench.database.beat):
        with pytest.raises(Retryable):
            ask()


def test_what_keeps_its_server_from_removing_wal_is_seen_as_far_as_the_role_may(bench: Bench) -> None:
    held = bench.database.wal()
    assert held.usual_bytes > 0
    assert (held.waiting, held.waiting_bytes, held.oldest_s, tuple(held.slots)) == (0, 0, 0.0, ())
    assert held.unseen in ("", "its role is not a member of pg_monitor")
