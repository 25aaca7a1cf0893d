"""A suite that is derived from a healthy database holds there, and finds what is planted in a copy."""

import time
from pathlib import Path

import psycopg
import pytest

from blocks.expectations.profiling import profile_tables
from blocks.expectations.running import run_suites
from blocks.secrets import Secrets
from tasks.common.backups import RungOutcome
from tasks.common.errors import Refused, Retryable
from tasks.common.load import load_suites
from tasks.expectations.judge import breaks, judge
from tasks.expectations.suggest import suggest
from tests.support import pagila
from tests.support.postgresql import Cluster

pytestmark = [pytest.mark.server, pytest.mark.long]

PLANTED = """
    set session_replication_role = replica;
    alter table customer alter last_name drop not null;
    update customer set last_name = null where customer_id = 7;
    alter table actor drop constraint actor_pkey cascade;
    insert into actor select * from actor where actor_id = 9;
    update film set length = 9999 where film_id = 11;
    delete from rental where rental_id % 2 = 0;
    update customer set activebool = false, email = 'nobody' where customer_id = 12;
    update film set special_features = null;
    insert into language (language_id, name, last_update) select n, 'x' || n, now() from generate_series(100, 200) n;
"""
FOUND = {
    ("customer", "expect_column_values_to_not_be_null", "last_name"): ("7",),
    ("actor", "expect_column_values_to_be_unique", "actor_id"): ("9", "9"),
    ("film", "expect_column_values_to_be_between", "length"): ("11",),
    ("rental", "expect_table_row_count_to_be_between", ""): (),
    ("customer", "expect_column_values_to_match_regex", "email"): ("12",),
    ("language", "expect_table_row_count_to_be_between", ""): (),
    ("shop", "expect_column_values_to_be_in_set", "state"): ("3",),
}
"""What must be found, and the keys of the rows."""


def test_suggested_suites_hold_where_they_come_from_and_find_what_is_planted(
    pagila_cluster: Cluster, tmp_path: Path
) -> None:
    url = pagila.copy(pagila_cluster, "healthy")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table shop (id int primary key, state text, at timestamptz, empty int)")
        connection.execute(
            "insert into shop select n, (array['new', 'paid', 'sent'])[n % 3 + 1], '9999-12-31' "
            "from generate_series(1, 300) n"
        )
        connection.execute("insert into shop values (301, 'new', 'infinity')")
        connection.execute("create table nothing (id int primary key)")
    profiles, left_out = profile_tables(url, [], 60)
    assert not left_out
    texts = {f"{profile.table}.yaml": suggest(profile) for profile in profiles}
    assert "@sakilacustomer" not in str(texts)
    assert "MARY" not in str(texts)
    suites = dict(load_suites(texts))
    assert len(suites) == 17  # 15 of Pagila's, its partitions not counted
    report = run_suites(suites, url, tmp_path, Secrets().redact, timeout_s=90)
    assert judge(report).outcome is RungOutcome.HELD, judge(report).said
    assert judge(report).facts["failed"] == 0

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(PLANTED)
        connection.execute("update shop set state = 'foreign' where id = 3")
    report = run_suites(suites, url, tmp_path, Secrets().redact, timeout_s=90)
    found = {(each.table, each.type, each.about): each.keys for each in report.checked if breaks(each)}
    assert judge(report).outcome is RungOutcome.BROKEN
    assert {what: keys for what, keys in found.items() if what in FOUND} == FOUND


def test_table_that_takes_too_long_is_left_out_and_named(pagila_cluster: Cluster) -> None:
    url = pagila.copy(pagila_cluster, "slow_one")
    with psycopg.connect(url) as holder:
        holder.execute("lock table film in access exclusive mode")
        began = time.monotonic()
        profiles, left_out = profile_tables(url, ["actor", "film"], 1)
        assert time.monotonic() - began < 20
    assert [profile.table for profile in profiles] == ["actor"]
    assert left_out == ["film"]


def test_unknown_table_is_refused_and_the_password_of_an_address_without_a_server_is_not_told(
    pagila_cluster: Cluster,
) -> None:
    url = pagila.copy(pagila_cluster, "some")
    with pytest.raises(Refused, match=r"no such table: public\.flim"):
        profile_tables(url, ["flim"], 10)
    with pytest.raises(Retryable) as raised:
        profile_tables("postgresql://somebody:planted-password@127.0.0.1:1/x", [], 10)
    assert "planted-password" not in str(raised.value)
