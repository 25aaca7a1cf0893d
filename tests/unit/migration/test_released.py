"""What is released on a database, as ledger, router and repository have it; all of them in memory."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.estate import OpenEstate, open_estate
from blocks.job import Job
from blocks.memory.router import MemoryRouter
from blocks.memory.runtime import MemoryRuntime
from blocks.migrations.released import CARRIES, carried, place_of
from flows.gates import migrated
from tasks.common.load import load_service
from tasks.common.migrations import DatabaseSpec
from tasks.common.model import DriverSpec
from tasks.release.model import Evidence, Kind, Outcome, ReleaseRecord
from tasks.rollout.model import Health, Instance
from tests.support.docs import ROOT
from tests.support.processes import free_port

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_SERVICE = (ROOT / "docs/reference/examples/slipway.yaml").read_text()
_PLAIN = "\n".join(line for line in _SERVICE.splitlines() if not line.startswith("migrations:"))


def commit(number: int, *migrations: str) -> dict[str, Any]:
    files = {"slipway.yaml": f"{_PLAIN}\nmigrations: db\n" if migrations else _PLAIN}
    files |= {f"db/{name}/migration.yaml": "description: x" for name in migrations}
    when = (NOON + timedelta(minutes=number)).isoformat()
    return {"sha": f"{number}" * 40, "subject": "x", "committed_at": when, "files": files}


@pytest.fixture
def estate(tmp_path: Path) -> OpenEstate:
    """An estate in memory, with a commit without migrations, one with one, and one with two."""
    file = yaml.safe_load((ROOT / "docs/reference/examples/estate.yaml").read_text())
    file["ledger"] = {"driver": "memory"}
    file["source"] = {"driver": "memory", "commits": [commit(1), commit(2, "0001_a"), commit(3, "0001_a", "0002_b")]}
    for environment in file["environments"].values():
        memory = {"driver": "memory", "world": str(tmp_path)}
        environment |= {"runtime": memory, "router": memory}
    (tmp_path / "estate.yaml").write_text(yaml.safe_dump(file))
    return open_estate(str(tmp_path / "estate.yaml"))


def released(
    estate: OpenEstate,
    number: int,
    hour: int,
    environment: str = "production",
    outcome: Outcome = Outcome.SUCCEEDED,
    rehearsed: bool = True,
) -> ReleaseRecord:
    sha, at = f"{number}" * 40, NOON + timedelta(hours=hour)
    id_ = f"{number}-{hour}"
    found = ReleaseRecord(id_, Kind.RELEASE, "campus", environment, sha[:12], sha, "x", "canary", "ann", at)
    estate.ledger.begin(found)
    if environment == "production" and rehearsed:
        moment = at + timedelta(minutes=10)
        estate.ledger.append(Evidence(id_, "phase", "rehearse in staging", moment))
    if outcome is not Outcome.RUNNING:
        estate.ledger.end(id_, outcome, at + timedelta(minutes=30), None, None)
    return found


def serve(estate: OpenEstate, number: int, environment: str = "production") -> None:
    site = estate.site("campus", environment)
    assert isinstance(site.runtime, MemoryRuntime) and isinstance(site.router, MemoryRouter)
    instance = Instance("blue", 0, f"{number}" * 12, "127.0.0.1:1", Health.READY)
    site.runtime._world.instances[("blue", 0)] = instance
    site.router._world.weights["blue"] = 100.0


def name(number: int) -> str:
    return f"{number}" * 12


def test_releases_are_told_back_to_the_one_that_served_when_the_window_began(estate: OpenEstate) -> None:
    for number, hour in ((1, -9), (2, -6), (1, -5), (3, -1)):
        released(estate, number, hour)
    released(estate, 2, -2, outcome=Outcome.ROLLED_BACK)
    serve(estate, 3)
    found = place_of(estate, "campus", "production", NOON - timedelta(hours=4))
    assert found.unseen == "" and found.serving == {name(3): 100.0} and found.at_work == ()
    half = timedelta(minutes=30)
    assert [(each.release, each.at - half - NOON) for each in found.served] == [
        (name(3), timedelta(hours=-1)),
        (name(1), timedelta(hours=-5)),
    ]
    assert [each.carries for each in found.served] == [{"0001_a", "0002_b"}, set()]


def test_release_that_has_passed_an_environment_on_its_way_serves_there_whatever_became_of_it(
    estate: OpenEstate,
) -> None:
    released(estate, 1, -6, "staging")
    released(estate, 2, -4, outcome=Outcome.ROLLED_BACK)
    released(estate, 3, -2, outcome=Outcome.FAILED, rehearsed=False)
    serve(estate, 2, "staging")
    found = place_of(estate, "campus", "staging", NOON - timedelta(hours=24))
    assert [each.release for each in found.served] == [name(2), name(1)]
    assert found.serving == {name(2): 100.0}


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_run_that_is_not_over_is_at_work_in_every_environment_on_its_way(estate: OpenEstate, environment: str) -> None:
    released(estate, 2, -4, outcome=Outcome.RUNNING)
    found = place_of(estate, "campus", environment, NOON)
    assert found.at_work == ("release of 2222222 to production, run 2--4",)


def test_what_a_release_has_is_read_from_its_record_first_and_is_not_known_without_a_repository(
    estate: OpenEstate,
) -> None:
    record = released(estate, 2, -4)
    assert carried(estate, record) == {"0001_a"}
    estate.ledger.append(Evidence(record.id, CARRIES, "staging", NOON, {"error": "it did not answer"}))
    estate.ledger.append(Evidence(record.id, CARRIES, "production", NOON, {"carries": ["0001_noted"]}))
    assert carried(estate, record) == {"0001_noted"}
    gone = released(estate, 9, -3)
    assert carried(estate, gone) is None


def test_gate_is_closed_where_the_database_does_not_answer_and_is_not_there_where_none_is_named(
    estate: OpenEstate, tmp_path: Path
) -> None:
    source = estate.source("campus")
    commit = source.resolve("2" * 40)
    service = load_service(source.read_file(commit, "slipway.yaml"), "slipway.yaml")
    job = Job(estate, service, released(estate, 2, -1, outcome=Outcome.RUNNING), commit)
    assert migrated(job, "production") == ()
    (tmp_path / "address").write_text(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    spec = DatabaseSpec(connection=DriverSpec(driver="postgresql", address="file:address"))
    estate.file.environments["production"].databases["campus"] = spec
    (verdict,) = migrated(job, "production")
    assert not verdict.open and verdict.figure is None and verdict.mend
    noted = [item for item in estate.ledger.evidence(job.record.id) if item.kind == CARRIES]
    assert [item.name for item in noted] == ["production"] and "error" in noted[0].facts


def test_what_does_not_answer_is_said(estate: OpenEstate) -> None:
    del estate.file.environments["production"]
    found = place_of(estate, "campus", "production", NOON)
    assert "no environment 'production'" in found.unseen and not found.served
