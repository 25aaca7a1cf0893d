"""SQL that somebody writes into a gate: answered where it only asks, and without any effect where it does not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import yaml

from blocks import ledger_figures
from blocks.ledger import PostgresqlLedger
from tasks.common.backups import RungOutcome
from tasks.common.errors import Refused, Retryable
from tests.support.catalogue import entry, verification
from tests.support.docs import ROOT, section
from tests.support.ledger import open_ledger, record
from tests.support.postgresql import Cluster

pytestmark = pytest.mark.server

HELD, BROKEN = RungOutcome.HELD, RungOutcome.BROKEN
NAMES = {"service": "campus", "environment": "o'brien; drop table t", "window": "300s"}


@pytest.fixture
def ledger(tmp_path: Path, database_url: str) -> PostgresqlLedger:
    """A ledger with one record, a sequence, a table and functions that would do something."""
    opened = open_ledger(tmp_path, database_url)
    opened.prepare()
    opened.begin(record())
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create table victim (n integer)")
        connection.execute("insert into victim values (1)")
        connection.execute("create sequence counter")
        connection.execute(
            "create function meddle() returns integer language plpgsql as "
            "$$ begin insert into victim values (2); return 1; end $$"
        )
        connection.execute(
            "create function unlock() returns integer language plpgsql as $$ begin "
            "perform set_config('transaction_read_only', 'off', true); insert into victim values (3); return 1; end $$"
        )
        connection.execute("create procedure leave() language plpgsql as $$ begin commit; delete from victim; end $$")
    return opened


def victims(url: str) -> tuple[int, int]:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select (select count(*) from victim), (select count(*) from slipway.release_record)"
        ).fetchone()
    assert row is not None
    return row[0], row[1]


@pytest.mark.parametrize(
    "sql",
    [
        "delete from victim",
        "delete from victim returning 1",
        "insert into victim values (2)",
        "truncate victim",
        "drop table victim",
        "with gone as (delete from victim returning 1) select count(*) from gone",
        "select 1 as n into copied",
        "select meddle()",
        "select unlock()",
        "select nextval('counter')",
        "select set_config('transaction_read_only', 'off', true)::int",
        "call leave()",
        "do $$ begin delete from victim; end $$",
        "select 1; delete from victim",
        "select 1; commit; drop table victim",
        "commit; delete from victim",
        "commit",
        "rollback; delete from victim",
        "set transaction read write",
        "explain analyze select meddle()",
        "copy victim to program 'true'",
        "select n from victim for update",
        "select 1 /* ; */ ; select 2",
        "select 1, 2",
        "select 'many'",
        "select true",
        "select now()",
        "select %(unknown)s",
        "select 5 % 2",
        "select * from nowhere",
        "",
        ";",
    ],
)
def test_what_changes_something_or_is_no_single_select_of_a_number_is_refused_without_effect(
    ledger: PostgresqlLedger, database_url: str, sql: str
) -> None:
    with pytest.raises(Refused) as caught:
        ledger.figure(sql, NAMES)
    assert caught.value.state == "nothing was changed"
    assert victims(database_url) == (1, 1)


def test_parameters_are_values_and_never_part_of_the_statement(ledger: PostgresqlLedger, database_url: str) -> None:
    assert ledger.figure("select length(%(environment)s::text)", NAMES) == len(NAMES["environment"])
    own = "select count(*) from slipway.release_record where service = %(service)s and 'a%%' like 'a%%'"
    assert ledger.figure(own, NAMES) == 1
    assert ledger.figure("select extract(epoch from %(window)s::interval)", NAMES) == 300
    assert victims(database_url) == (1, 1)


def test_million_rows_are_refused_and_not_fetched(ledger: PostgresqlLedger) -> None:
    with pytest.raises(Refused, match="several rows"):
        ledger.figure("select generate_series(1, 1000000000)", NAMES)


def test_statement_that_takes_too_long_is_ended_and_told(
    ledger: PostgresqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_figures, "_AT_MOST_MS", 200)
    for sql in (
        "select pg_sleep(60)::text::float8",
        "select count(*) from (select set_config('statement_timeout', '0', false), pg_sleep(60)) as slow",
    ):
        with pytest.raises(Retryable, match="took longer"):
            ledger.figure(sql, NAMES)


def test_right_that_the_role_lacks_is_told(
    ledger: PostgresqlLedger, postgresql_cluster: Cluster, database_url: str
) -> None:
    with postgresql_cluster.as_superuser(database_url) as connection:
        connection.execute("create table private (n integer)")
    with pytest.raises(Refused, match="refuses the SQL") as caught:
        ledger.figure("select count(*) from private", NAMES)
    assert "permission denied" in str(caught.value.facts["PostgreSQL says"])


def test_server_that_is_gone_may_be_asked_again(ledger: PostgresqlLedger, postgresql_cluster: Cluster) -> None:
    postgresql_cluster.stop()
    try:
        with pytest.raises(Retryable):
            ledger.figure("select 1", NAMES)
    finally:
        postgresql_cluster.start()
    assert ledger.figure("select 1", NAMES) == 1


def test_gate_of_the_page_on_a_verified_backup_has_its_age_and_no_figure_without_one(ledger: PostgresqlLedger) -> None:
    text = section(ROOT / "docs/how-to/gate-a-release.md", "A verified backup")
    (gate,) = yaml.safe_load(text.split("```")[1].removeprefix("yaml"))["environments"]["production"]["gates"]
    now = datetime.now(UTC)
    old, newer, doubtful = (entry(now - timedelta(hours=hours)) for hours in (30, 3, 1))
    for each in (old, newer, doubtful):
        ledger.catalogue.add(each)
    assert ledger.figure(gate["sql"], NAMES) is None
    for each, outcome in ((old, HELD), (newer, HELD), (doubtful, BROKEN)):
        ledger.catalogue.note(verification(each, outcome))
    assert ledger.figure(gate["sql"], NAMES) == pytest.approx(3 * 3600, abs=60)
    ledger.catalogue.expired(newer.id, "too old", "run-1", now)
    assert ledger.figure(gate["sql"], NAMES) == pytest.approx(30 * 3600, abs=60)
