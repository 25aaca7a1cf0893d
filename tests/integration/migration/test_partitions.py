"""Partitions in a real PostgreSQL: beside users at work, beside what stands in the way, and killed at any statement."""

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tasks.common.errors import Refused
from tasks.common.partitioning import PartitionSpec
from tasks.migration.model import Limits, Table
from tasks.migration.partition_model import Create
from tasks.migration.ports import TooSlow
from tasks.migration.require import Wanted
from tasks.migration.upkeep import Outcome, Upkeep, plans
from tests.support.interrupting import at_statement, statements_of
from tests.support.migrating import RUN, Stopped, fill, rows, target_of
from tests.support.postgresql import Cluster
from tests.support.processes import require_killed

pytestmark = pytest.mark.server

_TABLE = """
create table payment (
    id bigint generated always as identity, at timestamptz not null default now(), amount numeric not null
        check (amount >= 0), twice numeric generated always as (amount * 2) stored, primary key (id, at)
) partition by range (at);
create index on payment (amount);
create table log (id bigint);
create function noted() returns trigger language plpgsql as
    'begin insert into log values (new.id); return new; end';
create trigger noted after insert on payment for each row execute function noted();
"""
_OLD = """
create table payment_p2020_01 partition of payment for values from ('2020-01-01 00:00+00') to ('2020-02-01 00:00+00');
insert into payment (at, amount) select '2020-01-05', n from generate_series(1, 10) n;
"""
_NAMES = "select inhrelid::regclass::text from pg_inherits where inhparent = 'payment'::regclass order by 1"


def spec(**changes: object) -> PartitionSpec:
    return PartitionSpec.model_validate(
        {"table": "payment", "every": "month", "ahead": 1, "keep": "1 month", "drop_after": "0s", **changes}
    )


def run(
    address: str,
    folder: Path,
    *specs: PartitionSpec,
    wait: Callable[[float], None] | None = None,
    database: str = "",
    limits: Limits | None = None,
) -> Outcome:
    wanted = Wanted(database)
    said: Callable[[str], None] = [].append
    work = Upkeep(
        target_of(address, folder),
        specs or [spec()],
        wanted,
        "here",
        5.0,
        RUN,
        said,
        wait or (lambda _: None),
        lambda: 0.5,
        limits or Limits(),
    )
    return work.run()


def _never(_: float) -> None:
    raise AssertionError("a lock was waited for")


def names(address: str) -> list[object]:
    return [each[0] for each in rows(address, _NAMES)]


def test_partition_has_all_that_its_table_has(database_url: str, tmp_path: Path) -> None:
    fill(database_url, _TABLE)
    assert run(database_url, tmp_path).problems == ()
    fill(database_url, "insert into payment (amount) values (2)")
    assert rows(database_url, "select id, twice from payment") == [(1, 4)]
    assert rows(database_url, "select * from log") == [(1,)]
    with pytest.raises(psycopg.errors.CheckViolation):
        fill(database_url, "insert into payment (amount) values (-1)")
    found = "select count(*) from pg_indexes where tablename like 'payment\\_p%'"
    assert rows(database_url, found) == [(4,)]


def test_partitions_are_made_while_users_read_and_write(database_url: str, tmp_path: Path) -> None:
    fill(database_url, _TABLE + _OLD)
    fill(
        database_url,
        "do $$ begin execute format('create table present partition of payment for values from (%L) to (%L)',"
        "date_trunc('month', now(), 'UTC'), date_trunc('month', now(), 'UTC') + interval '32 days'); end $$",
    )
    fill(database_url, "insert into payment (amount) values (1)")
    with psycopg.connect(database_url) as user:
        user.execute("update payment set amount = 5 where at > now() - interval '1 day'")
        user.execute("select count(*) from payment where at > now() - interval '1 day'")
        made = run(database_url, tmp_path, spec(keep="forever", drop_after=None), wait=_never)
    assert made.problems == () and made.done
    assert rows(database_url, "select count(*) from payment") == [(11,)]


def test_transaction_that_uses_the_table_is_waited_for_and_nobody_else_waits(database_url: str, tmp_path: Path) -> None:
    fill(database_url, _TABLE + _OLD)
    tries: list[float] = []
    with psycopg.connect(database_url) as user:
        user.execute("select count(*) from payment")

        def wait(seconds: float) -> None:
            tries.append(seconds)
            # The half that is done already hides its rows from whoever comes now; others write.
            assert rows(database_url, "select count(*) from payment") == [(0,)] if len(tries) > 1 else True
            fill(database_url, "insert into payment (amount) values (1); delete from payment where amount = 1")
            if len(tries) == 2:
                user.commit()

        done = run(database_url, tmp_path, wait=wait)
    assert done.problems == () and len(tries) == 2
    assert "payment_p2020_01" not in names(database_url)
    assert rows(database_url, "select to_regclass('payment_p2020_01')") == [(None,)]


def test_detach_that_was_interrupted_is_finished_by_the_next_run(database_url: str, tmp_path: Path) -> None:
    fill(database_url, _TABLE + _OLD)

    def stop(_: float) -> None:
        raise Stopped

    with psycopg.connect(database_url) as user:
        user.execute("select count(*) from payment")
        with pytest.raises(Stopped):
            run(database_url, tmp_path, wait=stop)
    pending = "select count(*) from pg_inherits where inhdetachpending"
    assert rows(database_url, pending) == [(1,)]
    assert run(database_url, tmp_path, spec(drop_after="7d")).problems == ()
    assert rows(database_url, pending) == [(0,)]
    assert rows(database_url, "select count(*) from payment_p2020_01") == [(10,)]


def test_transaction_that_does_not_end_keeps_the_old_and_nothing_else(database_url: str, tmp_path: Path) -> None:
    fill(database_url, _TABLE + _OLD)
    with psycopg.connect(database_url) as user:
        user.execute("select count(*) from payment")
        done = run(database_url, tmp_path, limits=Limits(lock_timeout_ms=100, lock_tries=3))
    (problem,) = done.problems
    assert "in 3 tries" in problem.what and "pg_stat_activity" in problem.next_action
    assert sum("make" in each for each in done.done) == 3
    assert run(database_url, tmp_path).problems == ()
    assert rows(database_url, "select to_regclass('payment_p2020_01')") == [(None,)]


def test_partition_has_the_owner_of_its_table(postgresql_cluster: Cluster, tmp_path: Path) -> None:
    address = postgresql_cluster.database()
    fill(address, _TABLE)
    with postgresql_cluster.as_superuser(address) as root:
        root.execute("create role clerk")
        root.execute("grant clerk to app")
        root.execute("grant create on schema public to clerk")
        root.execute("alter table payment owner to clerk")
        assert run(address, tmp_path).problems == ()
        owners = root.execute("select distinct tableowner from pg_tables where tablename like 'payment%'").fetchall()
        assert owners == [("clerk",)]
        root.execute("drop owned by clerk")
        root.execute("drop role clerk")


def test_detached_partition_can_be_put_back_as_it_was(database_url: str, tmp_path: Path) -> None:
    fill(database_url, _TABLE + _OLD + "comment on table payment_p2020_01 is 'the first, it''s'")
    run(database_url, tmp_path, spec(drop_after=None))
    told = str(rows(database_url, "select obj_description('payment_p2020_01'::regclass)")[0][0])
    assert told.startswith('slipway: was a partition of "public"."payment", from 2020-01-01 00:00:00+00 to')
    assert told.endswith("\nthe first, it's")
    fill(
        database_url,
        "alter table payment attach partition payment_p2020_01 for values from ('2020-01-01 00:00+00') to "
        "('2020-02-01 00:00+00')",
    )
    assert rows(database_url, "select count(*) from payment") == [(10,)]


def test_rows_in_the_default_partition_are_told_of_and_the_way_that_is_told_works(
    database_url: str, tmp_path: Path
) -> None:
    fill(database_url, _TABLE + "create table other partition of payment default;" + _OLD)
    fill(database_url, "insert into payment (amount) values (7), (8)")
    found = run(database_url, tmp_path)
    (problem,) = found.problems
    assert "other, the default partition, has 2 rows" in problem.what
    assert len(names(database_url)) == 3, "the other ranges were made, and the old one has left"
    fill(database_url, problem.next_action.partition(": ")[2].replace("BEGIN; ", "").replace("; COMMIT", ""))
    assert run(database_url, tmp_path).problems == ()
    assert rows(database_url, "select count(*) from only other") == [(0,)]
    assert rows(database_url, "select sum(amount) from payment") == [(15,)]


def test_default_partition_that_takes_long_to_look_through_is_not_waited_for(database_url: str, tmp_path: Path) -> None:
    fill(database_url, _TABLE + "create table other partition of payment default;" + _OLD)
    fill(database_url, "insert into payment (at, amount) select '2001-01-01', n from generate_series(1, 50000) n")
    step = Create(Table(name="payment"), Table(name="p"), "2030-01-01", "2030-02-01", beside_default=True)
    with target_of(database_url, tmp_path).keeping(RUN, 1.0) as keeper, pytest.raises(TooSlow, match="looked through"):
        keeper.carry_out(step, Limits(lock_timeout_ms=1))
    assert rows(database_url, "select to_regclass('p')") == [(None,)]


def test_what_is_referred_to_stays_and_it_is_said_by_what(database_url: str, tmp_path: Path) -> None:
    fill(database_url, _TABLE + _OLD)
    fill(
        database_url,
        "create table refund (id bigint, at timestamptz, foreign key (id, at) references payment (id, at));"
        "insert into refund select id, at from payment limit 1",
    )
    (problem,) = run(database_url, tmp_path).problems
    assert "cannot leave" in problem.what and "refund" in problem.what
    assert rows(database_url, "select count(*) from payment") == [(10,)]
    fill(database_url, "drop table refund; create view first as table payment_p2020_01")
    (problem,) = run(database_url, tmp_path).problems
    assert "cannot leave" in problem.what and "view first" in problem.what
    assert rows(database_url, "select count(*) from first") == [(10,)]
    fill(database_url, "drop view first")
    assert run(database_url, tmp_path).problems == ()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("create table payment (at timestamptz)", "is not partitioned"),
        ("create table payment (at timestamptz) partition by list (at)", "is not partitioned"),
        ("create table payment (at timestamptz, n int) partition by range (at, n)", "is not partitioned"),
        ("create table payment (n int) partition by range (n)", "is not partitioned"),
        (
            "create table payment (at timestamp) partition by range ((at + interval '1 s'))",
            "is not partitioned",
        ),
        (
            "create table payment (at date) partition by range (at); create table p partition of payment for values "
            "from ('0044-03-15 BC') to ('2020-01-01')",
            "cannot be read",
        ),
        ("select 1", "there is no table"),
    ],
)
def test_table_that_cannot_be_looked_after_is_told_of(made: str, says: str, database_url: str, tmp_path: Path) -> None:
    fill(database_url, made)
    before = names(database_url) if "create table p " in made else []
    (problem,) = run(database_url, tmp_path).problems
    assert says in problem.what
    assert before == (names(database_url) if before else [])


@pytest.mark.parametrize("key", ["date", "timestamp", "timestamptz(3)"])
def test_every_type_of_key_gets_its_bounds_whatever_the_time_zone_of_the_role(
    key: str, postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    address = postgresql_cluster.database()
    database = address.rpartition("/")[2]
    with postgresql_cluster.as_superuser(address) as root:
        root.execute(f"alter database {database} set timezone = 'America/New_York'".encode())
        root.execute(f"alter database {database} set datestyle = 'SQL, DMY'".encode())
    fill(address, f'create schema billing; create table billing."Pay" (at {key}) partition by range (at)')
    wanted = spec(table="billing.Pay", time_zone="America/New_York")
    assert len(run(address, tmp_path, wanted).done) == 2
    assert run(address, tmp_path, wanted).done == ()
    fill(address, "insert into billing.\"Pay\" values (now()), (date_trunc('month', now()))")
    assert rows(address, 'select count(distinct tableoid) from billing."Pay"') == [(1,)]


def test_other_database_than_the_estate_names_is_not_touched(database_url: str, tmp_path: Path) -> None:
    fill(database_url, _TABLE)
    with pytest.raises(Refused, match="and not shop"):
        run(database_url, tmp_path, database="shop")
    assert names(database_url) == []


def test_looking_at_the_plan_changes_nothing(database_url: str, tmp_path: Path) -> None:
    fill(database_url, _TABLE + _OLD)
    (found,) = plans(target_of(database_url, tmp_path), [spec()], Wanted(), "here", datetime.now(UTC))
    assert len(found.steps) == 7
    assert names(database_url) == ["payment_p2020_01"]


def test_run_that_is_killed_at_any_statement_is_finished_by_the_next(
    postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    first = postgresql_cluster.database()
    fill(first, _TABLE + _OLD)
    whole = statements_of(lambda: run(first, tmp_path))
    expected = names(first)
    for number in range(3, whole + 1, 3):
        address = postgresql_cluster.database()
        fill(address, _TABLE + _OLD)

        def work(number: int = number, address: str = address) -> None:
            at_statement(number, lambda connection: os.kill(os.getpid(), signal.SIGKILL))
            run(address, tmp_path)
            os.kill(os.getpid(), signal.SIGKILL)

        require_killed(work, f"at statement {number} of {whole}")
        assert run(address, tmp_path).problems == ()
        assert names(address) == expected
        assert rows(address, "select to_regclass('payment_p2020_01')") == [(None,)]
