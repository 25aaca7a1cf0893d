"""`slipway backups` as people call it, with a ledger on PostgreSQL."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from blocks.ledger import PostgresqlLedger
from deployments.terminal import Exit
from tasks.common.backups import RungOutcome
from tasks.common.uses import Doing, use_of
from tests.support.catalogue import entry, verification
from tests.support.docs import ROOT
from tests.support.ledger import open_ledger
from tests.support.processes import free_port, listens, running, wait_until

pytestmark = pytest.mark.server

HOUR = timedelta(hours=1)
PASSWORD = "hunter2-hunter2"
ESTATE = """
estate: lab
workspace: work
ledger: {driver: postgresql, dsn: "file:dsn"}
store: {driver: memory}
environments:
  production:
    url: http://127.0.0.1:1
    replicas: 1
    runtime: {driver: memory}
    router: {driver: memory}
    metrics: {driver: memory}
services:
  campus: {repository: nowhere}
"""
PLANS = """
backups:
  campus-db:
    engine: {driver: memory, password: "env:BACKUP_PASSWORD"}
    retention: {hourly: 1, daily: 0, weekly: 0, monthly: 0, minimum: 1}
    objectives: {rto: 15m, rpo: 5m}
"""


class Place:
    """An estate whose catalogue has a verified backup of an hour ago, and an older one."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.estate = folder / "estate.yaml"
        self.estate.write_text(ESTATE + PLANS)
        self.ledger: PostgresqlLedger = open_ledger(folder, address)
        self.now = datetime.now(UTC)
        self.newest, self.older = entry(self.now - HOUR), entry(self.now - 3 * HOUR)

    def fill(self) -> None:
        self.ledger.prepare()
        for each in (self.older, self.newest):
            self.ledger.catalogue.add(each)
        self.ledger.catalogue.note(verification(self.newest, ended_at=self.now))

    def say(self, *arguments: str, code: int = Exit.DONE) -> str:
        """Return what the command has printed, once it has ended as expected."""
        argv = [sys.executable, "-m", "deployments.cli", "backups", *arguments, "--estate", str(self.estate)]
        env = {**os.environ, "SLIPWAY_VAR": str(self.folder / "var"), "COLUMNS": "250", "BACKUP_PASSWORD": PASSWORD}
        ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
        assert ended.returncode == code, ended.stderr
        assert PASSWORD not in ended.stdout + ended.stderr
        return ended.stderr if code == Exit.REFUSED else ended.stdout


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Place:
    return Place(tmp_path, database_url)


def shows(text: str, head: Sequence[str]) -> None:
    assert all(each in text for each in head), text


def test_status_of_plans_that_are_well_is_a_table(place: Place) -> None:
    place.fill()
    shows(place.say(), ("campus-db", "1 h old", "4 s of 5 min", "1 min 30 s of 15 min", "2.9 MiB"))


def test_plan_with_a_problem_is_told_and_ends_with_a_code_for_scripts(place: Place) -> None:
    place.fill()
    late = verification(place.newest, RungOutcome.BROKEN, run_id="verify-2", ended_at=place.now + HOUR, rto_s=None)
    place.ledger.catalogue.note(late)
    said = place.say(code=Exit.FAILED)
    assert f"campus-db: the last verification, of {place.newest.id}, found row counts broken" in said
    (found,) = json.loads(place.say("--json", code=Exit.FAILED))
    assert found["problems"][0] == "no backup that was verified is still sound"
    assert found["newest"]["unsound_at"] == (place.now + HOUR).isoformat()


def test_ledger_that_nobody_prepared_is_prepared_and_has_no_backup(place: Place) -> None:
    assert "campus-db: there is no backup" in place.say(code=Exit.FAILED)
    assert place.ledger.catalogue.entries() == ()
    assert "there is no backup yet" in place.say("--plan")


def test_plan_shows_each_backup_with_its_reason_and_changes_nothing(place: Place) -> None:
    place.fill()
    shows(place.say("--plan"), (place.newest.id, "keep", "newest of the hour", place.older.id, "drop", "nothing asks"))
    found = json.loads(place.say("--plan", "--json"))
    assert [(each["entry"]["id"], each["keep"]) for each in found] == [(place.newest.id, True), (place.older.id, False)]
    assert len(place.ledger.catalogue.entries()) == 2
    place.ledger.leases.acquire(use_of(place.older.id, Doing.VERIFIED, "run-7"), "run-7", 60)
    shows(place.say("--plan"), (place.older.id, "keep", "is being verified by run run-7"))


def test_hold_keeps_a_backup_until_it_is_let_go(place: Place) -> None:
    place.fill()
    assert "is held: audit of May" in place.say("hold", place.older.id, "--reason", " audit of May ", "--as", "ada")
    assert "held: audit of May" in place.say("--plan")
    assert [each.held for each in place.ledger.catalogue.entries()] == ["", "audit of May"]
    assert "is not held any more" in place.say("let-go", place.older.id)
    assert [each.held for each in place.ledger.catalogue.entries()] == ["", ""]


def test_hold_without_a_reason_or_of_an_unknown_backup_is_refused(place: Place) -> None:
    place.fill()
    assert "a hold needs a reason" in place.say("hold", place.older.id, "--reason", " ", code=Exit.REFUSED)
    said = place.say("hold", place.older.id + "F", "--reason", "audit", code=Exit.REFUSED)
    assert "no such backup in the catalogue" in said
    assert place.older.id in said
    assert "Missing option '--reason'" in place.say("hold", place.older.id, code=Exit.REFUSED)
    assert [each.held for each in place.ledger.catalogue.entries()] == ["", ""]


def test_estate_without_plans_is_refused_with_what_to_do(place: Place) -> None:
    place.estate.write_text(ESTATE)
    assert "describe a plan under backups of the estate file" in place.say(code=Exit.REFUSED)


def test_receiver_of_an_estate_that_has_only_backups_serves_their_figures(place: Place) -> None:
    place.fill()
    port, inside = free_port(), free_port()
    argv = [sys.executable, "-m", "deployments.cli", "receive", "--estate", str(place.estate)]
    argv += ["--port", str(port), "--inside-port", str(inside)]
    env = {**os.environ, "SLIPWAY_VAR": str(place.folder / "var"), "PREFECT_API_URL": "http://127.0.0.1:1/api"}
    with running(argv, log=place.folder / "receiver.log", env=env, cwd=ROOT):
        wait_until(lambda: listens(inside), what="the receiver")
        figures = httpx.get(f"http://127.0.0.1:{inside}/metrics", timeout=30).text
    assert 'slipway_backup_problems{plan="campus-db"} 0.0' in figures
    assert 'slipway_backup_rto_seconds{plan="campus-db"} 90.0' in figures
