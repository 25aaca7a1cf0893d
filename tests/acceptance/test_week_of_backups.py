"""A week of nights, with data that were made day by day: what was taken last Tuesday is compared with last Tuesday.

The nights are played one after the other. Data, heartbeats and what the catalogue says of times are those of the days;
the backups, their restores and the ledger are real.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pyrage
import pytest

from blocks.databases.watching import SourceWatch
from tasks.backup.retention import plan_retention
from tasks.backup.status import look
from tasks.common.backup_plans import Retention
from tasks.common.backups import BackupKind, Entry, RungOutcome, backup_id
from tests.integration.test_verify_flow import PLAN, Place, placed
from tests.support.docs import ROOT
from tests.support.postgresql import Cluster, running_cluster
from tests.support.processes import quick_folder
from tests.support.verifying import load_pagila, superuser_address, within

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]

CAMPUS, PAGILA, DAY = "campus", "pagila", timedelta(days=1)


class Nights(NamedTuple):
    """How many there are, and in which of them the schema changed and rows were lost."""

    count: int
    migrated_on: int
    lost_on: int


NIGHTS = {CAMPUS: Nights(7, 4, 5), PAGILA: Nights(4, 3, 4)}
A_DAY_OF = {
    CAMPUS: """
insert into users (id, email, name, password)
    select id, 'learner' || id || '@campus.example', 'L', 'x' from generate_series({night}001, {night}150) id;
insert into enrolments (user_id, course_id, enrolled_at)
    select id, 1 + id % 16, timestamptz '{at}' - interval '2 hours' from users where id > {night}000;
""",
    PAGILA: """
insert into rental (rental_date, inventory_id, customer_id, staff_id)
    select timestamptz '{at}' - n * interval '1 minute', 1 + n, 1 + n % 500, 1 from generate_series(1, 900) n;
""",
}
MIGRATION = {
    CAMPUS: "alter table courses add column level text; create table reviews (id int primary key)",
    PAGILA: "alter table film add column subtitle text; create table review (id int primary key)",
}
LOSS = {
    CAMPUS: ("delete from enrolments where user_id > {night} * 1000 - 2000", "public.enrolments"),
    PAGILA: (
        "delete from rental where rental_id in (select max(rental_id) - n from rental, "
        "generate_series(0, 2999) n group by n)",
        "public.rental",
    ),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with quick_folder() as folder, running_cluster(folder) as cluster:
        load_pagila(cluster)
        with within(superuser_address(cluster, "postgres")) as session:
            session.execute(f"create database {CAMPUS}")
        with within(superuser_address(cluster, CAMPUS)) as session:
            session.execute((ROOT / "examples/campus/campus/schema.sql").read_text())
        yield cluster


@pytest.fixture
def week_of(cluster: Cluster, database_url: str, prefect_api: str) -> Iterator[Callable[[str], "Week"]]:

    with ExitStack() as stack:

        def play(database: str) -> Week:
            place = stack.enter_context(placed(cluster, database_url, prefect_api, database))
            return Week(place, cluster, database)

        yield play


class Week:
    """The nights of one database, each with a backup."""

    def __init__(self, place: Place, cluster: Cluster, database: str) -> None:
        self.place, self.database, self.address = place, database, superuser_address(cluster, database)
        identity = pyrage.x25519.Identity.generate()
        (place.folder / "identity").write_text(str(identity))
        place.secrets += (str(identity),)
        self.engine: dict[str, Any] = {
            "driver": "pg_dump",
            "database": "file:address",
            "repositories": ["one"],
            "identity": "file:identity",
            "recipients": [str(identity.to_public())],
        }
        self.estate = place.plan(self.engine, name=database)
        self.estate.ledger.prepare()
        self.today, self.wanted = datetime.now(UTC), NIGHTS[database]
        self.nights = [self.play(night) for night in range(1, self.wanted.count + 1)]

    def play(self, night: int) -> Entry:
        """The day has brought its data, and the night a backup; returns it, with the times of that night."""
        at = self.today - (self.wanted.count - night) * DAY
        with within(self.address) as session:
            session.execute(A_DAY_OF[self.database].format(night=night, at=at.isoformat()))
            if night == self.wanted.migrated_on:
                session.execute(MIGRATION[self.database])
            session.execute("truncate slipway_heartbeat")
            session.execute("insert into slipway_heartbeat values (%s)", [at - timedelta(seconds=3)])
            source = self.estate.database(PLAN)
            assert source is not None
            watch = SourceWatch(source)
            watch._thread.join(30)
            if night == self.wanted.lost_on:
                self.lose(night)
            stored = self.estate.backup(PLAN).take(BackupKind.FULL, lambda _: None)
            seen = watch.end()
        took = stored.ended_at - stored.started_at
        dated = replace(stored, started_at=at - took, ended_at=at)
        entry = Entry(
            backup_id(PLAN, 1, stored.label), PLAN, "pg_dump", 1, dated, "sha256:" + "0" * 64, f"night-{night}"
        )
        self.estate.ledger.catalogue.add(entry)
        self.estate.ledger.catalogue.observed(entry.id, replace(seen, at=at))
        return entry

    def lose(self, night: int) -> None:
        with within(self.address) as session:
            session.execute(LOSS[self.database][0].format(night=night))

    def night(self, number: int) -> Entry:
        return self.nights[number - 1]

    @property
    def lost(self) -> Entry:
        return self.night(self.wanted.lost_on)


def test_newest_night_of_campus_meets_its_expectations_and_an_older_one_is_what_campus_was_then(
    week_of: Callable[[str], Week],
) -> None:
    week = week_of(CAMPUS)
    week.place.plan(week.engine, name=CAMPUS, expectations=str(ROOT / "examples/campus/expectations"))
    newest = week.place.verify()
    assert newest.state.is_completed(), newest.state.message
    assert newest.found.entry_id == week.nights[-1].id and newest.found.sound
    assert newest.outcomes()["expectations"] is RungOutcome.HELD
    week.place.plan(week.engine, name=CAMPUS)
    older = week.place.verify(week.night(2).id)
    assert older.state.is_completed(), older.state.message
    assert older.outcomes()["schema"] is older.outcomes()["row counts"] is RungOutcome.HELD, "before the migration"
    assert older.found.rpo_s == pytest.approx(3.0, abs=0.1), "of that night"
    text = older.artifact("verification")
    assert "compared with the source as it was when the backup was taken" in text
    lost = week.place.verify(week.lost.id)
    assert lost.error.what.startswith("the backup is not sound: row counts: ")
    assert LOSS[CAMPUS][1] in lost.error.what
    retention_and_status_of(week)


def retention_and_status_of(week: Week) -> None:
    """What is kept of the week, and how it looks."""
    entries = week.place.open().ledger.catalogue.entries(PLAN)
    few = Retention(hourly=0, daily=2, weekly=0, monthly=0, minimum=1)
    kept = {each.entry.id: each.reason for each in plan_retention(entries, few, datetime.now(UTC)) if each.keep}
    assert set(kept) == {week.nights[-1].id, week.nights[-2].id, week.night(2).id}
    assert kept[week.night(2).id] == "the one whose verification is the latest"
    estate = week.place.open()
    (status,) = look(estate.file, estate.ledger.catalogue, datetime.now(UTC))
    assert status.growth_bytes_a_day is not None and status.growth_bytes_a_day > 0
    assert [each for each in status.problems if "row counts" in each], "the last verification has found something"


def test_older_night_of_pagila_is_what_it_was_then_and_a_night_that_lost_rows_is_found(
    week_of: Callable[[str], Week],
) -> None:
    week = week_of(PAGILA)
    older = week.place.verify(week.night(2).id)
    assert older.state.is_completed(), older.state.message
    assert older.outcomes()["schema"] is older.outcomes()["row counts"] is RungOutcome.HELD
    lost = week.place.verify(week.lost.id)
    assert lost.error.what.startswith("the backup is not sound: row counts: ")
    assert LOSS[PAGILA][1] in lost.error.what
    kept = week.place.open().ledger.catalogue.entry(week.lost.id)
    assert kept.unsound_at is not None and kept.verified_at is None
