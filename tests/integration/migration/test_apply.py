"""A migration goes through a real PostgreSQL: applied, interrupted after each step, undone at every point."""

from pathlib import Path

import psycopg
import pytest

from blocks.migrations.folder import read_folder
from tasks.common.errors import Refused
from tasks.common.migrations import PHASES, MigrationState, Phase
from tests.support.docs import ROOT
from tests.support.migrating import CUSTOMERS, NAMES, Stopped, changed, data_of, fill, rows, schema_of, way

pytestmark = pytest.mark.server
EXAMPLES = ROOT / "docs/reference/examples"
_ROWS = 2500


@pytest.fixture
def address(database_url: str) -> str:
    fill(database_url, CUSTOMERS.format(rows=_ROWS))
    return database_url


def test_migration_goes_through_its_phases_and_its_history_tells_of_each(address: str, tmp_path: Path) -> None:
    work = way(address, tmp_path)
    work.apply(Phase.VALIDATE)
    assert rows(address, "select count(*) from customer where full_name = first || ' ' || last") == [(_ROWS,)]
    attempt = work.attempt()
    assert attempt is not None
    assert (attempt.standing.state, attempt.standing.done) == (MigrationState.UNDER_WAY, Phase.VALIDATE)
    assert not attempt.standing.past_return
    assert {each.state for each in attempt.steps} == {"done"}
    batches = rows(address, "select number, over, changed from slipway.migration_batches order by number")
    assert batches == [(1, 1000, 1000), (2, 1000, 1000), (3, 500, 500)]
    assert work.shown[-1].finished
    work.apply(Phase.CLEANUP)
    assert rows(address, "select state, done, past_return from slipway.migrations") == [("applied", "cleanup", True)]
    assert [
        name
        for (name,) in rows(
            address,
            "select attname from pg_attribute where attrelid = 'customer'::regclass"
            " and attnum > 0 and not attisdropped order by attnum",
        )
    ] == ["id", "full_name"]


def test_applied_migration_is_not_applied_again(address: str, tmp_path: Path) -> None:
    work = way(address, tmp_path)
    work.apply(Phase.CLEANUP)
    assert work.plan(Phase.CLEANUP) == ()
    assert work.apply(Phase.CLEANUP) == 0


@pytest.mark.parametrize("through", [Phase.PREPARE, Phase.EXECUTE, Phase.VALIDATE])
def test_undo_after_each_phase_brings_schema_and_data_back_and_it_can_be_applied_anew(
    address: str, tmp_path: Path, through: Phase
) -> None:
    work = way(address, tmp_path)
    before = schema_of(address), data_of(address)
    work.apply(through)
    assert schema_of(address) != before[0]
    work.undo()
    assert (schema_of(address), data_of(address)) == before
    assert work.attempt() is None
    work.apply(Phase.CLEANUP)
    assert rows(address, "select attempt, state from slipway.migrations order by 1") == [(1, "undone"), (2, "applied")]


def test_apply_that_stops_after_any_action_is_finished_by_the_next(database_url: str, tmp_path: Path) -> None:
    length = len(way(database_url, tmp_path).plan(Phase.CLEANUP))
    for stop in range(1, length):
        fill(
            database_url,
            "drop table if exists customer; drop schema if exists slipway cascade;" + CUSTOMERS.format(rows=30),
        )
        work = way(database_url, tmp_path)
        with pytest.raises(Stopped):
            work.apply(Phase.CLEANUP, stop_after=stop)
        assert len(work.plan(Phase.CLEANUP)) == length - stop
        work.apply(Phase.CLEANUP)
        assert rows(database_url, "select count(*) from customer where full_name ~ '^first[0-9]+ last[0-9]+$'") == [
            (30,)
        ]


def test_undo_that_stops_after_any_action_is_finished_by_the_next(database_url: str, tmp_path: Path) -> None:
    fill(database_url, CUSTOMERS.format(rows=30))
    before = schema_of(database_url), data_of(database_url)
    for stop in range(1, 4):
        work = way(database_url, tmp_path)
        work.apply(Phase.VALIDATE)
        with pytest.raises(Stopped):
            work.undo(stop_after=stop)
        attempt = work.attempt()
        assert attempt is not None
        assert attempt.standing.state is MigrationState.UNDOING
        work.undo()
        assert (schema_of(database_url), data_of(database_url)) == before


def test_undo_of_a_half_done_phase_brings_the_start_back(database_url: str, tmp_path: Path) -> None:
    fill(database_url, CUSTOMERS.format(rows=30))
    before = schema_of(database_url), data_of(database_url)
    for stop in range(1, 9):
        work = way(database_url, tmp_path)
        with pytest.raises(Stopped):
            work.apply(Phase.VALIDATE, stop_after=stop)
        work.undo()
        assert (schema_of(database_url), data_of(database_url)) == before


def test_undo_may_keep_what_earlier_phases_have_done(address: str, tmp_path: Path) -> None:
    files = changed(
        NAMES,
        execute__undo__sql="update customer set full_name = null;\n",
        prepare__sql="alter table customer add column full_name text;",
        validate__sql="select id from customer where full_name is null;",
    )
    work = way(address, tmp_path, files)
    work.apply(Phase.PREPARE)
    expanded = schema_of(address), data_of(address)
    work.apply(Phase.VALIDATE)
    work.undo(keep=Phase.PREPARE)
    assert (schema_of(address), data_of(address)) == expanded
    attempt = work.attempt()
    assert attempt is not None
    assert attempt.standing.done is Phase.PREPARE
    work.apply(Phase.VALIDATE)
    assert rows(address, "select count(*) from customer where full_name is null") == [(0,)]


def test_nothing_is_undone_past_the_point_of_no_return(address: str, tmp_path: Path) -> None:
    work = way(address, tmp_path)
    work.apply(Phase.CLEANUP)
    with pytest.raises(Refused, match="point of no return"):
        work.undo()
    assert rows(address, "select state from slipway.migrations") == [("applied",)]


def test_phases_settle(address: str, tmp_path: Path) -> None:
    settings = NAMES["0001_full_name/migration.yaml"].replace("settle: 0s", "settle: 3s")
    work = way(address, tmp_path, changed(NAMES, migration__yaml=settings))
    work.apply(Phase.CLEANUP)
    assert [each for each in work.waits if each == 3.0] == [3.0] * len(PHASES)


def test_rollback_script_is_on_record(address: str, tmp_path: Path) -> None:
    way(address, tmp_path).apply(Phase.PREPARE)
    script = str(rows(address, "select rollback from slipway.migrations")[0][0])
    assert "alter table customer drop column if exists full_name;" in script
    assert "cleanup, step 1: past the point of no return" in script


def test_rows_that_come_during_the_backfill_are_left_to_the_application(address: str, tmp_path: Path) -> None:
    work = way(address, tmp_path, changed(NAMES, validate__sql=None))
    with psycopg.connect(address, autocommit=True) as other:
        work.health = work.health.model_copy()
        shown = work.shown

        class Grows(list):  # type: ignore[type-arg]
            def append(self, item: object) -> None:
                super().append(item)
                other.execute(
                    "insert into customer select 100000 + n + (select max(id) from customer), 'a', 'b', 'a b'"
                    " from generate_series(1, 1000) n"
                )

        work.shown = Grows(shown)
        work.apply(Phase.EXECUTE)
    assert rows(address, "select sum(over) from slipway.migration_batches") == [(_ROWS,)]


def test_documented_example_runs_and_old_code_runs_beside_it(database_url: str, tmp_path: Path) -> None:
    fill(
        database_url,
        "create table customer (customer_id int primary key, first_name text, last_name text);"
        "insert into customer select n, 'f' || n, 'l' || n from generate_series(1, 50) n",
    )
    before = schema_of(database_url)
    files = read_folder(EXAMPLES / "migrations")
    work = way(database_url, tmp_path, files)
    work.apply(Phase.PREPARE)
    fill(
        database_url,
        "insert into customer values (51, 'old', 'code'); update customer set last_name = 'x' where customer_id = 1",
    )
    work.apply(Phase.VALIDATE)
    fill(database_url, "update customer set last_name = 'y' where customer_id = 2")
    work.undo()
    assert schema_of(database_url) == before
    assert rows(database_url, "select count(*) from customer where last_name in ('x', 'y', 'code')") == [(3,)]
    work.apply(Phase.CLEANUP)
    assert rows(database_url, "select full_name from customer where customer_id in (1, 2, 51) order by 1") == [
        ("f1 x",),
        ("f2 y",),
        ("old code",),
    ]
