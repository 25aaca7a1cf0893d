"""What is refused, and what is true then: each by a real PostgreSQL."""

import contextlib
import re
import threading
from pathlib import Path

import psycopg
import pytest

from tasks.common.errors import Refused, Retryable
from tasks.common.migrations import HealthLimits, MigrationState, Phase
from tasks.migration.conduct import LimitReached, OnHold
from tasks.migration.ports import MutexLost
from tasks.migration.require import Wanted, require_in_line, require_right, require_room, require_undoable
from tests.support.disks import small_disk
from tests.support.migrating import CUSTOMERS, NAMES, RUN, Way, changed, data_of, fill, rows, schema_of, target_of, way
from tests.support.postgresql import Cluster, running_copy
from tests.support.processes import short_folder, wait_until
from tests.support.verifying import base_backup, hand_over

pytestmark = pytest.mark.server
_SECOND = {path.replace("0001_full_name", "0002_second"): text for path, text in NAMES.items()}
_BARE = {"prepare__sql": "alter table customer add column full_name text;", "validate__sql": None}


@pytest.fixture
def address(database_url: str) -> str:
    fill(database_url, CUSTOMERS.format(rows=300))
    return database_url


@pytest.fixture
def work(address: str, tmp_path: Path) -> Way:
    return way(address, tmp_path)


def _in_line(work: Way, files: dict[str, str], folder: Path, address: str) -> str:
    other = way(address, folder, files)
    with pytest.raises(Refused) as error:
        require_in_line(work.target.observe(), other.written, "campus")
    return error.value.block()


def test_edited_migration_is_refused_and_a_comment_is_no_edit(work: Way, address: str, tmp_path: Path) -> None:
    work.apply(Phase.PREPARE)
    same = changed(NAMES, prepare__sql="-- why\n" + NAMES["0001_full_name/prepare.sql"])
    require_in_line(work.target.observe(), way(address, tmp_path, same).written, "campus")
    other = changed(NAMES, cleanup__sql="alter table customer drop column first;")
    told = _in_line(work, other, tmp_path, address)
    assert "1 migration was edited after being begun" in told and "0001_full_name" in told
    assert "put the change into a new migration" in told


def test_missing_migration_and_one_out_of_order_are_refused(work: Way, address: str, tmp_path: Path) -> None:
    work.apply(Phase.PREPARE)
    told = _in_line(work, _SECOND, tmp_path, address)
    assert "the folder does not have" in told and "0001_full_name" in told
    early = {path.replace("0001_full_name", "0000_early"): text for path, text in NAMES.items()}
    told = _in_line(work, {**NAMES, **early}, tmp_path, address)
    assert "0000_early would be applied out of order" in told


def test_migration_that_was_undone_may_be_edited(work: Way, address: str, tmp_path: Path) -> None:
    work.apply(Phase.PREPARE)
    work.undo()
    other = changed(NAMES, cleanup__sql="alter table customer drop column first;")
    require_in_line(work.target.observe(), way(address, tmp_path, other).written, "campus")


def test_wrong_database_and_wrong_cluster_are_refused(work: Way, address: str) -> None:
    observed = work.target.observe()
    with pytest.raises(Refused, match="and not elsewhere"):
        require_right(observed, Wanted(database="elsewhere"), "campus")
    with pytest.raises(Refused, match="another cluster"):
        require_right(observed, Wanted(system_id="1" * 19), "campus")
    database = str(rows(address, "select current_database()")[0][0])
    system = str(rows(address, "select system_identifier from pg_control_system()")[0][0])
    require_right(observed, Wanted(database, system), "campus")
    assert rows(address, "select to_regnamespace('slipway') is null") == [(True,)]


def test_read_only_role_is_refused(work: Way, address: str) -> None:
    fill(address, f"alter database {address.rpartition('/')[2]} set default_transaction_read_only = on")
    with pytest.raises(Refused, match="read-only"):
        require_right(work.target.observe(), Wanted(), "campus")
    with pytest.raises(Refused, match="takes no writes"):
        work.apply()


def test_nearly_full_disk_is_refused_before_anything_is_touched(address: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1024) as disk:
        (disk / "filler").write_bytes(b"x" * 960 * 1024)
        work = way(address, tmp_path, data_folder=str(disk))
        observed = work.target.observe()
        with pytest.raises(Refused, match="too little room") as error:
            require_room(observed, work.written[0].compiled(), Phase.VALIDATE, Wanted(), "campus")
        assert "has to stay free" in error.value.block()
        work.health = HealthLimits(autovacuum=False)
        with pytest.raises(OnHold, match="disk"):
            work.apply(Phase.EXECUTE)


def test_second_engine_is_refused_and_told_who_is_at_work(work: Way, address: str, tmp_path: Path) -> None:
    with work.target.locked(RUN, 1.0):
        assert RUN in work.target.observe().engine
        with (
            pytest.raises(Refused, match="another engine") as error,
            target_of(address, tmp_path).locked("other", 0.5),
        ):
            pass
        assert RUN in str(error.value.facts["at work"])
    assert work.target.observe().engine == ""


def test_engine_whose_mutex_died_changes_nothing_more(work: Way, address: str) -> None:
    with work.target.locked(RUN, 1.0) as engine:
        work._do(engine, work.plan(Phase.PREPARE), None)
        at, step = next((each.at, each.step) for each in work.plan(Phase.EXECUTE) if hasattr(each, "at"))
        seen = engine.open_backfill(at, step)  # type: ignore[arg-type]
        assert not seen.finished
        before = rows(address, "select xmin::text, * from slipway.migration_steps order by phase, number")
        fill(address, "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
        with pytest.raises(MutexLost):
            engine.batch(at, step, 100, work.written[0].compiled().limits)  # type: ignore[arg-type]
        with pytest.raises(MutexLost):
            engine.end_phase(at.name, Phase.EXECUTE)
    assert rows(address, "select xmin::text, * from slipway.migration_steps order by phase, number") == before
    assert rows(address, "select count(*) from customer where full_name is not null") == [(0,)]
    work.apply(Phase.VALIDATE)


def test_history_of_a_newer_slipway_is_left_alone(work: Way, address: str) -> None:
    work.apply(Phase.PREPARE)
    fill(address, "insert into slipway.migration_store (version) values (99)")
    with pytest.raises(Refused, match="newer Slipway"):
        work.target.observe()


def test_history_of_an_older_slipway_is_read_as_it_is_and_brought_here_by_the_next_engine(
    work: Way, address: str
) -> None:
    work.apply(Phase.PREPARE)
    fill(address, "alter table slipway.migrations drop column accepted; update slipway.migration_store set version = 1")
    before = work.attempt()
    assert before is not None and before.standing.accepted == ""
    work.apply(Phase.VALIDATE)
    assert rows(address, "select version from slipway.migration_store order by 1") == [(1,), (2,)]
    assert rows(address, "select accepted from slipway.migrations") == [("",)]


def test_duplicate_key_in_a_new_unique_index_is_refused_and_leaves_nothing(address: str, tmp_path: Path) -> None:
    fill(address, "update customer set first = 'same' where id in (7, 8)")
    before = schema_of(address), data_of(address)
    text = "create unique index concurrently customer_first on customer (first);"
    undo = "drop index concurrently if exists customer_first;"
    work = way(address, tmp_path, changed(NAMES, prepare__sql=text, prepare__undo__sql=undo))
    with pytest.raises(Refused, match="rows are alike") as error:
        work.apply(Phase.PREPARE)
    assert "customer_first" in error.value.block()
    assert (schema_of(address), data_of(address)) == before
    fill(address, "update customer set first = 'other' where id = 8")
    work.apply(Phase.PREPARE)
    assert rows(address, "select indisvalid from pg_index where indexrelid = 'customer_first'::regclass") == [(True,)]


def test_invalid_leftover_of_a_build_is_built_again_and_a_stranger_of_that_name_is_refused(
    address: str, tmp_path: Path
) -> None:
    work = way(address, tmp_path)
    with psycopg.connect(address) as holder:
        # It holds up the build's wait for older transactions, in which its session is ended.
        holder.execute("update customer set first = first where id = 1")
        builder = psycopg.connect(address, autocommit=True)

        def build() -> None:
            with contextlib.suppress(psycopg.Error):
                builder.execute("create index concurrently customer_full_name on customer (last)")

        thread = threading.Thread(target=build)
        thread.start()
        pid = builder.info.backend_pid
        invalid = "select count(*) from pg_index where not indisvalid"
        wait_until(lambda: rows(address, invalid) == [(1,)], what="the index that is being built")
        fill(address, f"select pg_terminate_backend({pid})")
        thread.join(60)
    work.apply(Phase.PREPARE)
    definition = rows(
        address,
        "select pg_get_indexdef('customer_full_name'::regclass), (select indisvalid from pg_index"
        " where indexrelid = 'customer_full_name'::regclass)",
    )
    assert definition == [("CREATE INDEX customer_full_name ON public.customer USING btree (full_name)", True)]
    work.undo()
    fill(address, "create index customer_full_name on customer (last)")
    with pytest.raises(Refused, match="is there already"):
        work.apply(Phase.PREPARE)
    assert "(last)" in str(rows(address, "select pg_get_indexdef('customer_full_name'::regclass)"))


def test_validate_that_fails_shows_rows_and_the_next_run_goes_on_when_they_are_mended(
    address: str, tmp_path: Path
) -> None:
    work = way(address, tmp_path)
    work.apply(Phase.EXECUTE)
    fill(address, "update customer set full_name = 'somebody' where id = 5")
    with pytest.raises(Refused, match="customers whose name is not made of its parts") as error:
        work.apply(Phase.VALIDATE)
    assert error.value.facts["rows found"] == "5"
    fill(address, "update customer set full_name = first || ' ' || last where id = 5")
    work.apply(Phase.VALIDATE)


def test_rows_that_break_a_rule_are_named_by_the_rule(address: str, tmp_path: Path) -> None:
    text = "alter table customer add constraint positive check (id > 5) not valid;"
    files = changed(
        NAMES, prepare__sql=text, prepare__undo__sql="alter table customer drop constraint if exists positive;",
        validate__sql="alter table customer validate constraint positive;", execute__undo__sql=None,
        migration__yaml="description: x\nsettle: 0s\n",
    )  # fmt: skip
    with pytest.raises(Refused, match="rows break a rule") as error:
        way(address, tmp_path, files).apply(Phase.VALIDATE)
    assert error.value.facts["constraint or index"] == "positive"


def test_backfill_that_takes_longer_than_its_limit_stops_and_goes_on_with_a_higher_one(
    address: str, tmp_path: Path
) -> None:
    settings = NAMES["0001_full_name/migration.yaml"].replace("pause: 0s", "pause: 0s\n    batch: 10")
    files = changed(NAMES, **{**_BARE, "migration__yaml": settings + "within: 1ms\n"})
    work = way(address, tmp_path, files)
    with pytest.raises(LimitReached, match="taken longer") as error:
        work.apply(Phase.EXECUTE)
        work.apply(Phase.EXECUTE)
    assert "raise 'within'" in error.value.next_action
    again = way(address, tmp_path, changed(files, migration__yaml=settings))
    require_in_line(again.target.observe(), again.written, "campus")
    again.apply(Phase.EXECUTE)
    assert rows(address, "select sum(changed) from slipway.migration_batches") == [(300,)]


def test_long_transaction_of_somebody_else_is_named_and_nobody_waits_behind_us(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocks.migrations.looking.LONG_S", 0.0)
    settings = NAMES["0001_full_name/migration.yaml"] + "lock_timeout: 50ms\nlock_tries: 3\n"
    work = way(address, tmp_path, changed(NAMES, **{**_BARE, "migration__yaml": settings}))
    with psycopg.connect(address, application_name="report") as holder:
        holder.execute("select count(*) from customer")
        with pytest.raises(Retryable, match="in 3 tries of 50 ms") as error:
            work.apply(Phase.PREPARE)
        assert "report" in str(error.value.facts["open for long"])
        assert len(work.waits) == 2
        assert "full_name" not in schema_of(address)
    work.apply(Phase.PREPARE)
    attempt = work.attempt()
    assert attempt is not None and attempt.standing.state is MigrationState.UNDER_WAY


def test_undo_of_an_older_migration_is_refused(address: str, tmp_path: Path) -> None:
    second = {
        path: text.replace("full_name", "whole").replace("named", "whole_named") for path, text in _SECOND.items()
    }
    work = way(address, tmp_path, {**NAMES, **second})
    work.apply(Phase.PREPARE, "0001_full_name")
    work.apply(Phase.PREPARE, "0002_second")
    with pytest.raises(Refused, match="0002_second was begun after 0001_full_name"):
        require_undoable(work.target.observe(), "0001_full_name", "campus")
    with pytest.raises(Refused, match="nothing of 0003_other"):
        require_undoable(work.target.observe(), "0003_other", "campus")


@pytest.mark.parametrize(
    ("backfill", "expected"),
    [
        ("set: {full_name: random()::text}", "random()"),
        ("set: {full_name: now()::text}", "now()"),
        ("set: {full_name: current_date::text}", "current_timestamp or the like"),
        ("set: {id: id + 1000}", "id, which is made from id"),
        ("set: {full_name: first}\n    where: random() < 2", "its 'where' has another value each time"),
        ("set: {full_name: random()::text}\n    where: id > 0", "still meet its 'where'"),
        ("set: {full_name: nothing_such}", "cannot be read"),
    ],
)
def test_backfill_that_could_not_be_repeated_is_refused(
    address: str, tmp_path: Path, backfill: str, expected: str
) -> None:
    settings = f"description: x\nsettle: 0s\nbackfill:\n  - table: customer\n    {backfill}\n"
    work = way(address, tmp_path, changed(NAMES, **{**_BARE, "migration__yaml": settings}))
    with pytest.raises(Refused) as error:
        work.apply(Phase.EXECUTE)
    assert expected in error.value.block()
    assert rows(address, "select count(*) from customer where full_name is not null or id > 300") == [(0,)]


def test_backfill_with_a_guard_fills_each_row_once_also_when_it_is_random(address: str, tmp_path: Path) -> None:
    settings = NAMES["0001_full_name/migration.yaml"].replace("first || ' ' || last", "gen_random_uuid()::text")
    work = way(address, tmp_path, changed(NAMES, **{**_BARE, "migration__yaml": settings}))
    fill(address, "alter table customer add column n int default 0")
    work.apply(Phase.EXECUTE)
    assert rows(address, "select count(distinct full_name) from customer") == [(300,)]


def test_table_without_a_key_is_refused(database_url: str, tmp_path: Path) -> None:
    fill(
        database_url, "create table customer (id int, first text, last text); insert into customer values (1, 'a', 'b')"
    )
    work = way(database_url, tmp_path, changed(NAMES, **_BARE))
    with pytest.raises(Refused, match="no primary key, and no unique index"):
        work.apply(Phase.EXECUTE)


@pytest.mark.parametrize(
    "table",
    [
        "customer (a text, b timestamptz, id int, first text, last text, primary key (a, b))",
        "customer (a text not null, b timestamptz not null, id int, first text, last text, unique (a, b))",
    ],
)
def test_keys_of_several_columns_and_unique_ones_serve_as_well(database_url: str, tmp_path: Path, table: str) -> None:
    fill(
        database_url,
        f"create table {table}; insert into customer select md5(n::text), now() + n * interval '7 us'"
        ", n, 'a', n::text from generate_series(1, 257) n",
    )
    settings = NAMES["0001_full_name/migration.yaml"].replace("pause: 0s", "pause: 0s\n    batch: 10")
    work = way(database_url, tmp_path, changed(NAMES, **{**_BARE, "migration__yaml": settings}))
    work.apply(Phase.EXECUTE)
    assert rows(database_url, "select sum(over), sum(changed), count(*) > 20 from slipway.migration_batches") == [
        (257, 257, True)
    ]


def test_server_without_our_sessions_goes_on_where_it_was(
    postgresql_cluster: Cluster, address: str, tmp_path: Path
) -> None:
    del postgresql_cluster
    settings = NAMES["0001_full_name/migration.yaml"].replace("pause: 0s", "pause: 0s\n    batch: 50")
    work = way(address, tmp_path, changed(NAMES, **{**_BARE, "migration__yaml": settings}))

    class Ends(list):  # type: ignore[type-arg]
        def append(self, item: object) -> None:
            super().append(item)
            if len(self) == 3:
                fill(
                    address, "select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ 'slipway'"
                )

    work.shown = Ends()
    with pytest.raises(Retryable):
        work.apply(Phase.EXECUTE)
    work.shown = []
    work.apply(Phase.EXECUTE)
    assert rows(address, "select count(*), sum(changed) from slipway.migration_batches") == [(6, 300)]


def test_standby_is_refused_and_can_be_looked_at(
    postgresql_cluster: Cluster, address: str, work: Way, tmp_path: Path
) -> None:
    work.apply(Phase.PREPARE)
    with short_folder() as folder:
        data = base_backup(postgresql_cluster, folder / "data")
        (data / "standby.signal").touch()
        hand_over(folder)
        with running_copy(data, folder) as port:
            there = re.sub(r":[0-9]+/", f":{port}/", address)
            standby = way(there, tmp_path)
            observed = standby.target.observe()
            with pytest.raises(Refused, match="a standby and takes no writes") as error:
                require_right(observed, Wanted(), "campus")
            assert "target_session_attrs=read-write" in error.value.next_action
            assert observed.attempts[0].standing.done is Phase.PREPARE
            with pytest.raises(Refused, match="takes no writes"):
                standby.apply()
