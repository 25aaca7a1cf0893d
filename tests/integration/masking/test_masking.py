"""Pagila, masked: what was personal is gone, what was joined still is, and only a copy is ever touched."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from blocks.masking import masking as module
from blocks.masking.copies import mark_copy
from blocks.masking.masking import check_masking, mask_copy
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.load import load_masking
from tasks.masking.expressions import SCHEMA, keyed
from tests.support import pagila
from tests.support.docs import ROOT
from tests.support.postgresql import Cluster, running_cluster

pytestmark = pytest.mark.server

KEY = "a-planted-masking-key"
EXAMPLE = (ROOT / "docs/reference/examples/masking.yaml").read_text(encoding="utf-8")
RULES = load_masking(EXAMPLE, "masking.yaml")
ADDRESSES = "select count(*) from {} where email like '%@sakila%'"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server of this module alone, that archives nothing and holds Pagila."""
    with running_cluster(tmp_path_factory.mktemp("masking")) as cluster:
        pagila.load(cluster)
        yield cluster


def marked(cluster: Cluster, name: str) -> str:
    url = pagila.copy(cluster, name)
    mark_copy(url, data_directory=cluster.data, entry_id="pagila/1/x", run_id="run")
    return url


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def run(url: str, *commands: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for command in commands:
            connection.execute(command)  # type: ignore[arg-type]


def contents(url: str) -> str:
    found = hashlib.sha256()
    for table in ("customer", "staff", "address"):
        for row in rows(url, f"select t::text from {table} t order by 1"):
            found.update(str(row).encode())
    return found.hexdigest()


def test_masked_copy_has_no_address_left_keeps_its_joins_and_twice_changes_nothing(cluster: Cluster) -> None:
    url = marked(cluster, "whole")
    run(url, "refresh materialized view rental_by_category", "create materialized view people as select * from staff")
    before = dict(rows(url, "select customer_id, last_name from customer"))
    said: list[str] = []
    done = mask_copy(url, RULES, KEY, said.append)

    assert done.tables == {"public.address": 603, "public.customer": 599, "public.staff": 1500}
    assert rows(url, ADDRESSES.format("customer")) == rows(url, ADDRESSES.format("people")) == [(0,)]
    assert rows(
        url,
        "select count(*), count(distinct email), count(*) filter (where email ~ "
        "'^u[0-9a-f]{16}@masked[.]invalid$') from customer",
    ) == [(599, 599, 599)]
    for customer, name in rows(url, "select customer_id, last_name from customer"):
        assert name == keyed(KEY, str(before[customer])).hex()[:32]
    assert rows(
        url, "select count(*) from customer c join address a using (address_id) join store using (store_id)"
    ) == [(599,)]
    assert rows(url, "select count(*) from customer where create_date = '2022-02-14'") == [(0,)]
    assert rows(url, "select distinct phone from address where phone <> ''") == [("000",)]
    assert rows(url, "select count(password) + count(picture) from staff") == [(0,)]
    assert rows(
        url,
        "select count(*) from pg_stats where tablename in ('customer', 'staff', 'people') and "
        "(most_common_vals::text like '%@sakila%' or histogram_bounds::text like '%@sakila%')",
    ) == [(0,)]
    # The same trigger that sets last_update on every update rested.
    assert rows(url, "select count(*) from customer where last_update > now() - interval '1 day'") == [(0,)]

    first = contents(url)
    again = mask_copy(url, RULES, KEY)
    assert (again.tables, again.done_before) == ({}, ["public.address", "public.customer", "public.staff"])
    assert contents(url) == first
    with pytest.raises(Refused, match="other rules, or another key"):
        mask_copy(url, RULES, KEY + "2")
    assert KEY not in " ".join(said)


def test_masking_that_was_interrupted_is_carried_on_and_gives_the_same(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = marked(cluster, "uninterrupted"), marked(cluster, "interrupted")
    mask_copy(whole, RULES, KEY)
    monkeypatch.setattr(module, "_BATCH_ROWS", 100)
    untouched = rows(broken, "select email from customer order by 1")

    def end_the_session(said: str) -> None:
        if "public.address" in said:
            run(
                broken,
                "create function trap() returns trigger language plpgsql as $$ begin perform "
                "pg_terminate_backend(pg_backend_pid()); return new; end $$",
                "create trigger trap before update on customer for each row when (old.customer_id = 350) "
                "execute function trap()",
                "alter table customer enable always trigger trap",
            )

    with pytest.raises(Retryable) as raised:
        mask_copy(broken, RULES, KEY, end_the_session)
    assert "nobody may use it" in str(raised.value)
    assert rows(broken, f"select name from {SCHEMA}.done") == [("public.address",)]
    assert rows(broken, "select email from customer order by 1") == untouched
    run(broken, "drop trigger trap on customer")
    assert mask_copy(broken, RULES, KEY).done_before == ["public.address"]
    assert contents(broken) == contents(whole)


@pytest.mark.parametrize(
    ("plant", "where"),
    [
        ("update city set city = 'ask MARY.SMITH@sakilacustomer.org.' where city_id = 5", "city.city"),
        ("create table note (id int primary key, body jsonb); insert into note values (5, "
         "'{\"from\": \"some.one@example.com\"}')", "note.body"),
        ("create table note (id int primary key, body bytea); insert into note values (5, 'x some.one@example.com')",
         "note.body"),
        ("update film set special_features = array['a', 'x@y.example.org'] where film_id = 5", "film.special_features"),
        ("create table note (id int primary key, body text); insert into note values (5, 'Mary.Smith@"
         "SAKILAcustomer.org')", "note.body"),
    ],
    ids=["text", "json", "bytes", "array", "allowed but from a masked column"],
)  # fmt: skip
def test_planted_address_is_found_by_its_place_and_key_and_never_told(cluster: Cluster, plant: str, where: str) -> None:
    name = "planted_" + hashlib.sha256(plant.encode()).hexdigest()[:8]
    url = marked(cluster, name)
    run(url, plant)
    allowing = EXAMPLE + "allow_mail:\n  city.city: ['@sakilacustomer.org']\n"
    if where == "note.body":
        allowing += "  note.body: ['@sakilacustomer.org']\n"
    with pytest.raises(Unsafe) as raised:
        mask_copy(url, load_masking(allowing, "masking.yaml"), KEY)
    assert raised.value.facts == {"left": f"{where}: 1 rows, keys 5"}
    assert "@" not in str(raised.value).replace("@example.org", "")


def test_address_that_is_allowed_in_its_column_may_stay(cluster: Cluster) -> None:
    url = marked(cluster, "allowed")
    run(url, "update city set city = 'write to Help@Example.org, or us@masks.example.' where city_id = 5")
    text = EXAMPLE + "allow_mail:\n  city.city: [help@example.org, '@masks.example']\n"
    assert mask_copy(url, load_masking(text, "masking.yaml"), KEY).searched_columns > 20


def test_everything_that_stands_against_it_is_told_at_once_and_nothing_is_touched(cluster: Cluster) -> None:
    url = marked(cluster, "against")
    run(url, "create table contact (id int primary key, email text unique, born date not null, home_phone text, "
             "code varchar(5), shown text generated always as (email || '!') stored, "
             "boss text references contact (email))",
        "select lo_create(0)")  # fmt: skip
    text = """
key: env:KEY
masking:
  contact.email: {rule: name}
  contact.born: {rule: "null"}
  contact.code: {rule: hash}
  contact.shown: {rule: hash}
  contact.boss: {rule: hash}
  contact.id: {rule: email}
  contact.nmae: {rule: hash}
  customer.create_date: {rule: fixed, value: soon}
  custmer.email: {rule: email}
keep: {actor.first_name: public, actor.last_name: public}
"""
    before = contents(url)
    with pytest.raises(Refused) as raised:
        mask_copy(url, load_masking(text, "masking.yaml"), "short")
    told = str(raised.value.facts["problems"])
    for said in (
        "masking: no such column: contact.nmae",
        "masking: no such table: custmer.email (did you mean 'customer.email'?)",
        "contact.email with rule name: the column is part of a unique key",
        "contact.email with rule name: it is joined with contact.boss: both need the same rule",
        "contact.boss with rule hash: it is joined with contact.email",
        "contact.born with rule null: the column refuses NULL",
        "contact.code with rule hash: its values need 12 characters",
        "contact.shown with rule hash: PostgreSQL computes this column",
        "contact.id with rule email: it does not fit the type integer",
        "customer.create_date: the type date does not take the fixed value",
        "contact.home_phone looks personal",
        "staff.email looks personal",
        "1 large objects",
        "has fewer than 16 characters",
    ):
        assert said in told, said
    assert contents(url) == before
    assert set(check_masking(url, load_masking(text, "masking.yaml"))) < set(told.splitlines())


def test_only_a_marked_copy_is_masked_and_a_mark_is_valid_where_it_was_set_alone(cluster: Cluster) -> None:
    source = pagila.copy(cluster, "source")
    with pytest.raises(Refused, match="not marked as a copy"):
        mask_copy(source, RULES, KEY)
    marked(cluster, "to_be_cloned")
    with cluster.as_superuser(source) as connection:
        connection.execute("create database cloned template to_be_cloned")
    with pytest.raises(Refused, match="mark is that of another database"):
        mask_copy(source.replace("/source", "/cloned"), RULES, KEY)
    assert rows(source, ADDRESSES.format("customer")) == [(599,)]


def test_another_server_than_the_restored_one_is_not_marked(cluster: Cluster, tmp_path: Path) -> None:
    url = pagila.copy(cluster, "other_server")
    with pytest.raises(Refused, match="another server"):
        mark_copy(url, data_directory=tmp_path, entry_id="x", run_id="y")
    assert rows(url, f"select to_regnamespace('{SCHEMA}')") == [(None,)]


def test_server_that_others_follow_or_that_archives_is_no_copy(cluster: Cluster) -> None:
    url = pagila.copy(cluster, "subscribing")
    run(url, "create subscription other connection 'dbname=x' publication y with (connect = false)")
    try:
        with pytest.raises(Refused, match="it subscribes"):
            mark_copy(url, data_directory=cluster.data, entry_id="x", run_id="y")
    finally:
        run(url, "alter subscription other set (slot_name = none)", "drop subscription other")


def test_address_where_nobody_answers_and_role_without_rights_are_errors_without_the_password(cluster: Cluster) -> None:
    for url in ("postgresql://somebody:planted-password@127.0.0.1:1/x", cluster.database()):
        with pytest.raises(SlipwayError) as raised:
            mark_copy(url, data_directory=None, entry_id="x", run_id="y")
        assert "planted-password" not in str(raised.value)
        assert cluster.role_password not in str(raised.value)
