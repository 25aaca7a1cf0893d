"""The flow `drill` on a real server: what was broken, what was measured, and that nothing of it is left."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from blocks.drills.ids import TABLE
from blocks.drills.undo_journal import UndoJournal
from tasks.common.errors import Refused
from tasks.common.lease import Lease
from tests.support.drill_place import KILL, STOP, DrillPlace, drill_place, experiment
from tests.support.drilling import read_log
from tests.support.events import names_of
from tests.support.processes import wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def ledger_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgresql_cluster").database())


@pytest.fixture(scope="module")
def place(ledger_url: str, prefect_api: str) -> Iterator[DrillPlace]:
    with drill_place(ledger_url, prefect_api) as place:
        yield place


@pytest.fixture(autouse=True)
def nothing_is_left(place: DrillPlace) -> Iterator[None]:
    wait_until(place.serves, what="the server")
    yield
    place.describe()
    assert UndoJournal(place.journal).entries() == ((), ())
    wait_until(place.serves, what="the server, with nothing broken any more")


def test_killed_postmaster_is_measured_and_everything_is_on_record(place: DrillPlace) -> None:
    place.write(experiment("postmaster-killed", KILL))
    ran = place.practise("postmaster-killed", repeat=2, requested_by="ada")
    assert ran.state.is_completed(), ran.error.block()
    first, second, end = place.open().ledger.drills.notes(ran.id)
    assert (first.kind, first.number, second.number, end.kind) == ("round", 1, 2, "ended")
    for each in (first, second):
        assert each.facts["outcome"] == "recovers-by-itself"
        assert 0.05 < float(str(each.facts["rto_s"])) < 20
        assert each.facts["lost"] == []
        assert int(str(each.facts["acknowledged"])) > 200
    assert (end.facts["passed"], end.facts["rounds"], end.facts["by"]) == (2, 2, "ada")
    folder = Path(str(end.facts["evidence"]))
    assert {path.name for path in folder.iterdir()} == {
        f"round-0{number}.{kind}" for number in (1, 2) for kind in ("jsonl", "json", "svg")
    }
    assert read_log(folder / "round-01.jsonl").whole
    assert "postmaster-killed passed in 2 of 2 rounds" in ran.artifact
    assert "| a1 W" not in ran.artifact and "injected" in ran.artifact
    assert len(UndoJournal(place.journal).undone(ran.id)) == 2
    wait_until(lambda: "slipway.drill.passed" in names_of(place.api, ran.id), what="the event", every_s=0.2)


@pytest.mark.long
def test_stalled_server_is_let_go_again_and_a_person_was_expected(place: DrillPlace) -> None:
    place.write(experiment("stalled", STOP, expect="a-person-must-act", longest="8s", abort=_never(7)))
    ran = place.practise("stalled")
    assert ran.state.is_completed(), ran.error.block()
    (one, _) = place.open().ledger.drills.notes(ran.id)
    assert one.facts["outcome"] == "a-person-must-act"
    assert float(str(one.facts["rto_s"])) > 7
    assert one.facts["lost"] == []


def _never(seconds: int) -> list[dict[str, str]]:
    return [{"name": "never", "figure": "writes", "at_least": "0%", "for": f"{seconds}s"}]


@pytest.mark.long
def test_abort_rule_ends_it_early_and_another_outcome_than_the_expected_one_fails_it(place: DrillPlace) -> None:
    rule = [{"name": "nobody writes", "figure": "writes", "at_least": "1%", "for": "4s"}]
    place.write(experiment("aborted", STOP, abort=rule))
    ran = place.practise("aborted")
    text = ran.error.block()
    assert text.startswith("Failed (drill): aborted FAILED: a-person-must-act")
    assert "aborted: nobody writes" in text and "recovers-by-itself was expected" in text
    assert "**aborted FAILED" in ran.artifact
    (one, _) = place.open().ledger.drills.notes(ran.id)
    moments = one.facts["moments"]
    assert isinstance(moments, dict) and moments["undone"] - moments["injected"] < 20


def test_planted_loss_is_found_by_the_drill(place: DrillPlace) -> None:
    with psycopg.connect(place.address, autocommit=True) as session:
        session.execute("create table if not exists marker (id text)")
        session.execute("truncate marker")
    deleted = f"delete from {TABLE} where right(id, 1) = '3' returning id"
    action = {
        "driver": "mistake",
        "address": "file:users",
        "statement": f"with gone as ({deleted}) insert into marker select id from gone",
        "seen_by": "select exists (select from marker)",
    }
    by_hand = {"by": "person", "how": "restore the rows"}
    place.write(experiment("rows-lost", action, longest="5s", abort=_never(4), undo=by_hand))
    ran = place.practise("rows-lost")
    with psycopg.connect(place.address) as session:
        rows = session.execute("select id from marker").fetchall()
    (one, _) = place.open().ledger.drills.notes(ran.id)
    assert rows and one.facts["lost"] and set(one.facts["lost"]) == {row[0] for row in rows}  # type: ignore[call-overload]
    assert f"{len(rows)} acknowledged writes are lost" in ran.error.block()
    assert "restore to the moment before" in str(one.facts["by_hand"])


def test_dry_run_prints_the_plan_and_breaks_nothing(place: DrillPlace) -> None:
    place.write(experiment("postmaster-killed", KILL))
    began = (place.server.data / "postmaster.pid").read_text()
    ran = place.practise("postmaster-killed", dry_run=True)
    assert ran.state.is_completed()
    assert (place.server.data / "postmaster.pid").read_text() == began
    assert list(place.open().ledger.drills.notes(ran.id)) == []


@contextlib.contextmanager
def held(place: DrillPlace, scope: str) -> Iterator[None]:
    leases = place.open().ledger.leases
    lease = leases.acquire(scope, "another-run", 60)
    assert isinstance(lease, Lease)
    try:
        yield
    finally:
        leases.give_up(lease)


def test_all_that_stands_in_the_way_is_told_at_once_and_nothing_is_broken(place: DrillPlace) -> None:
    place.write(experiment("postmaster-killed", KILL))
    began = (place.server.data / "postmaster.pid").read_text()
    cluster = {"id": "7999999999999999999", "releases": [{"service": "campus", "environment": "production"}]}
    place.describe(cluster=cluster)
    with held(place, "campus/production"):
        error = place.practise("postmaster-killed").error
    assert isinstance(error, Refused)
    assert "a1 is of the cluster" in error.block() and "another-run is at work on campus/production" in error.block()
    assert (place.server.data / "postmaster.pid").read_text() == began


def test_second_drill_is_told_which_run_practises(place: DrillPlace) -> None:
    place.write(experiment("postmaster-killed", KILL))
    with held(place, f"drill/{place.open().file.estate}"):
        error = place.practise("postmaster-killed").error
    assert "the run another-run practises here: no second drill beside it" in error.what


def test_cluster_that_is_not_listed_and_drill_that_is_not_there_are_refused(place: DrillPlace) -> None:
    place.write(experiment("elsewhere", KILL, cluster="production"))
    assert "may not be practised on: the estate does not list it" in place.practise("elsewhere").error.what
    assert "there is no drill 'nothing'" in place.practise("nothing").error.what
    (place.folder / "drills" / "elsewhere.yaml").unlink()
