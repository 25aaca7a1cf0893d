"""Pagila's payments: a plain table that gets partitions, and months that become quarters, with users at work."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.migrations.folder import read_folder
from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tasks.common.partitioning import PartitionSpec
from tasks.migration.files import load_migrations
from tasks.migration.lint import lint
from tasks.migration.partition_model import Plan
from tasks.migration.require import Wanted
from tasks.migration.upkeep import plans
from tests.support import pagila
from tests.support.docs import ROOT
from tests.support.migrating import Stopped, Way, data_of, fill, rows, schema_of, target_of, way
from tests.support.postgresql import Cluster
from tests.support.processes import wait_until
from tests.support.two_versions import Place, Traffic

pytestmark = [pytest.mark.server, pytest.mark.long]

BY_MONTH = "partitioned/0001_payments_by_month"
BY_QUARTER = "repartitioned/0001_payments_by_quarter"
# Rows of Pagila, in a table as it would be without partitions.
_PLAIN = """
drop view sales_by_film_category, sales_by_store;
drop materialized view rental_by_category;
create table plain (like payment including defaults);
insert into plain table payment;
drop table payment cascade;
alter sequence payment_payment_id_seq owner to current_user;
alter table plain rename to payment;
alter table payment add primary key (payment_id);
alter sequence payment_payment_id_seq owned by payment.payment_id;
create index payment_customer on payment (customer_id);
"""
_PARTITIONS = "select inhrelid::regclass::text from pg_inherits where inhparent = 'payment'::regclass order by 1"
_COLUMNS = "payment_id, customer_id, staff_id, rental_id, amount, payment_date"
_ROWS = f"select {_COLUMNS} from payment order by payment_id, payment_date"
# The numbers are far above Pagila's own.
_WRITES = [
    f"INSERT INTO payment ({_COLUMNS}) VALUES ({{n}}, 1, 1, 1, 5, '2022-02-03 10:00+00')",
    "UPDATE payment SET amount = amount + 1 WHERE payment_id = {n} AND payment_date = '2022-02-03 10:00+00'",
    "UPDATE payment SET payment_date = '2022-06-30 23:59+00' WHERE payment_id = {n}",
    "SELECT sum(amount) FROM payment WHERE customer_id = 269",
    "DELETE FROM payment WHERE payment_id = {n} AND {n} % 2 = 0",
]


def plain(cluster: Cluster, name: str) -> str:
    address = pagila.copy(cluster, name)
    fill(address, _PLAIN)
    return address


def work_on(address: str, folder: Path, example: str) -> Way:
    files = {path.name: path for path in (ROOT / "docs/reference/examples" / example).iterdir()}
    name = example.rpartition("/")[2]
    texts = {f"{name}/{each}": path.read_text() for each, path in files.items()}
    texts[f"{name}/migration.yaml"] = texts[f"{name}/migration.yaml"].replace("description", "settle: 0s\ndescription")
    return way(address, folder, texts)


CASES = pytest.mark.parametrize(
    ("example", "make", "expected"),
    [
        (BY_MONTH, plain, "payment_p2022_01"),
        (BY_QUARTER, pagila.copy, "payment_p2022_q1"),
    ],
    ids=["plain-to-months", "months-to-quarters"],
)


@CASES
def test_undo_at_every_point_brings_the_start_back(
    example: str, make: Callable[[Cluster, str], str], expected: str, pagila_cluster: Cluster, tmp_path: Path
) -> None:
    del expected
    address = make(pagila_cluster, f"undo_{make.__name__}")
    work = work_on(address, tmp_path, example)
    before = schema_of(address), rows(address, _ROWS)
    for count in range(1, len(work.plan(Phase.VALIDATE)) + 1):
        stopped(work, count)
        work.undo()
        assert (schema_of(address), rows(address, _ROWS)) == before, f"taken back after {count} actions"


def stopped(work: Way, count: int) -> None:
    """It was stopped after so many actions, or is done."""
    try:
        work.apply(Phase.VALIDATE, stop_after=count)
    except Stopped:
        return


@CASES
def test_users_read_and_write_all_the_way_and_no_row_is_lost_or_there_twice(
    example: str, make: Callable[[Cluster, str], str], expected: str, pagila_cluster: Cluster, tmp_path: Path
) -> None:
    address = make(pagila_cluster, f"users_{make.__name__}")
    before = rows(address, _ROWS)
    work, place = work_on(address, tmp_path, example), Place(address, tmp_path)
    with Traffic(place, _WRITES, "", 1_000_000) as users:
        for phase in Phase:
            work.apply(phase)
            seen = users.rounds
            wait_until(lambda seen=seen: users.rounds > seen + 3, within_s=60, what="users")  # type: ignore[misc]
        users.stop()
    found = rows(address, _ROWS)
    assert [each for each in found if int(str(each[0])) <= 100_000] == before
    added = [int(str(each[0])) for each in found if int(str(each[0])) > 100_000]
    assert sorted(added) == [n for n in range(1_000_001, 1_000_001 + users.rounds) if n % 2]
    assert expected in {each[0] for each in rows(address, _PARTITIONS)}
    left = "select relname from pg_class where relname like 'payment\\_by%'"
    assert rows(address, left) == []
    assert rows(address, "select attname from pg_attribute where attname = 'moved' and not attisdropped") == []
    columns = "customer_id, staff_id, rental_id, amount, payment_date"
    fill(address, f"insert into payment ({columns}) values (1, 1, 1, 1, '2022-05-05')")


def test_quarters_leave_views_and_their_figures_as_they_were(pagila_cluster: Cluster, tmp_path: Path) -> None:
    address = pagila.copy(pagila_cluster, "views")
    before = data_of(address, "sales_by_store"), data_of(address, "sales_by_film_category")
    work_on(address, tmp_path, BY_QUARTER).apply(Phase.CLEANUP)
    assert (data_of(address, "sales_by_store"), data_of(address, "sales_by_film_category")) == before
    assert [each[0] for each in rows(address, _PARTITIONS)] == [f"payment_p2022_q{n}" for n in (1, 2, 3)]


def test_view_of_the_old_table_is_found_before_the_point_of_no_return(pagila_cluster: Cluster, tmp_path: Path) -> None:
    address = plain(pagila_cluster, "held")
    fill(address, "create view large as select * from payment where amount > 10")
    work = work_on(address, tmp_path, BY_MONTH)
    with pytest.raises(Refused, match="hold on to the old table") as error:
        work.apply(Phase.VALIDATE)
    assert "view large" in str(error.value.facts["rows found"])
    work.undo()


def test_row_that_is_missing_in_the_new_table_is_found(pagila_cluster: Cluster, tmp_path: Path) -> None:
    address = plain(pagila_cluster, "missing")
    work = work_on(address, tmp_path, BY_MONTH)
    work.apply(Phase.EXECUTE)
    fill(address, "delete from payment_by_month where payment_id = 16051")
    with pytest.raises(Refused, match="only one of the tables has") as error:
        work.apply(Phase.VALIDATE)
    assert "16051" in str(error.value.facts["rows found"])


def test_row_that_no_month_takes_fails_nobody_and_is_found(pagila_cluster: Cluster, tmp_path: Path) -> None:
    address = plain(pagila_cluster, "beyond")
    work = work_on(address, tmp_path, BY_MONTH)
    work.apply(Phase.EXECUTE)
    fill(address, f"insert into payment ({_COLUMNS}) values (1, 1, 1, 1, 1, '2050-01-01')")
    with pytest.raises(Refused, match="no month takes") as error:
        work.apply(Phase.VALIDATE)
    assert "2050" in str(error.value.facts["rows found"])
    fill(address, "delete from payment where payment_id = 1")
    work.apply(Phase.CLEANUP)
    assert "payment_other" not in {each[0] for each in rows(address, _PARTITIONS)}
    months = PartitionSpec.model_validate({"table": "payment", "every": "month", "ahead": 1, "keep": "forever"})
    found = plans(target_of(address, tmp_path), [months], Wanted(), "here", datetime.now(UTC))
    assert found == (Plan(),), "the upkeep of partitions finds them as it would have made them"


def test_old_table_that_is_emptied_empties_the_new_one(pagila_cluster: Cluster, tmp_path: Path) -> None:
    address = plain(pagila_cluster, "emptied")
    work = work_on(address, tmp_path, BY_MONTH)
    work.apply(Phase.EXECUTE)
    fill(address, "truncate payment")
    assert rows(address, "select count(*) from payment_by_month") == [(0,)]


def test_partition_that_the_migration_does_not_know_is_found(pagila_cluster: Cluster, tmp_path: Path) -> None:
    address = pagila.copy(pagila_cluster, "unknown")
    fill(address, "create table payment_more partition of payment for values from ('2022-08-01') to ('2022-09-01')")
    with pytest.raises(Refused, match="knows nothing of") as error:
        work_on(address, tmp_path, BY_QUARTER).apply(Phase.VALIDATE)
    assert "payment_more" in str(error.value.facts["rows found"])


@pytest.mark.parametrize("example", ["partitioned", "repartitioned"])
def test_documented_examples_have_nothing_in_the_wrong_phase(example: str) -> None:
    (written,) = load_migrations(read_folder(ROOT / "docs/reference/examples" / example), example)
    assert lint(written) == ()
