"""Back to a kept release by hand, and everything that the command line tells without changing anything."""

from pathlib import Path

import pytest

from tasks.release.model import Kind, Outcome
from tests.support.events import await_events
from tests.support.lab import LabPlace, Released, failures, release_under_load

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def _v2_serves_and_v1_is_kept(lab: LabPlace) -> None:
    kept = {record.release for record in lab.records() if record.outcome is Outcome.SUCCEEDED}
    if lab.name("v1") not in kept:
        lab.require_released("v1")
    lab.require_released("v2")


@pytest.fixture(scope="module")
def back(lab: LabPlace, _v2_serves_and_v1_is_kept: None, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """A rollback to v1, with the repository out of reach, so that nothing can have been built."""
    repository, away = lab.lab.campus_repository, tmp_path_factory.mktemp("away") / "campus"
    repository.rename(away)
    try:
        return release_under_load(
            lab, "rollback", "campus", lab.versions["v1"][:7], "--reason", "users cannot find their courses"
        )
    finally:
        away.rename(repository)


def _started(lab: LabPlace) -> int:
    """Return how many runs somebody has started; those of reconcile come by the clock."""
    return int(lab.prefect("POST", "/flow_runs/count", {"flows": {"name": {"any_": ["release", "rollback"]}}}))


def test_plan_changes_nothing(lab: LabPlace) -> None:
    def everything() -> object:
        sites = [(lab.estate.site("campus", name)) for name in ("staging", "production")]
        return [(s.runtime.observe(), s.router.observe().weights) for s in sites], lab.records(), _started(lab)

    before = everything()
    done = lab.slipway("plan", "campus", "v1", "--json")
    assert done.code == 0, done.err
    titles = [part["title"].partition(" ")[0] for part in done.json]
    assert titles == ["prepare", "rehearse", "promote"]
    assert any(step.startswith("shift") for step in done.json[-1]["steps"])
    assert everything() == before


def test_doctor_finds_all_well_and_names_what_is_not(lab: LabPlace, tmp_path: Path) -> None:
    well = lab.slipway("doctor", "--json")
    assert (well.code, [finding for finding in well.json if not finding["well"]]) == (0, [])

    lab.lab.campus_repository.rename(tmp_path / "away")
    try:
        ill = lab.slipway("doctor", "--json")
    finally:
        (tmp_path / "away").rename(lab.lab.campus_repository)
    (found,) = [finding for finding in ill.json if not finding["well"]]
    assert (ill.code, found["name"]) == (1, "campus: repository")
    assert found["mend"]


def test_request_that_cannot_be_carried_out_is_refused_before_anything_runs(lab: LabPlace) -> None:
    before = _started(lab)
    done = lab.slipway("release", "campus", "v2", "--to", "nowhere")
    assert done.code == 2
    assert "production" in done.err
    assert _started(lab) == before


def test_rollback_by_hand_needs_no_rebuild_and_fails_no_request(lab: LabPlace, back: Released) -> None:
    assert (back.code, back.record.outcome, back.record.kind) == (0, Outcome.SUCCEEDED, Kind.ROLLBACK)
    assert failures(back.users) == (0, 0), back.users.failures
    assert lab.serving() == {lab.name("v1"): 100.0}
    assert not {"check-out", "build", "test"} & {item.kind for item in back.evidence}
    first = next(r for r in lab.records() if (r.release, r.kind) == (lab.name("v1"), Kind.RELEASE))
    assert back.record.digest == first.digest
    assert [item.facts["reason"] for item in back.of("reason")] == ["users cannot find their courses"]


def test_end_of_a_rollback_is_an_event_for_automations(lab: LabPlace, back: Released) -> None:
    (event,) = await_events(lab.lab.api_url, back.record.id, headers=lab.lab.headers)
    assert (event["event"], event["payload"]["release"]) == ("slipway.rollback.promoted", lab.name("v1"))


def test_status_shows_who_serves(lab: LabPlace, back: Released) -> None:
    assert back.code == 0
    done = lab.slipway("status", "--json")
    assert done.code == 0
    production = next(site for site in done.json if site["environment"] == "production")
    (slot,) = [slot for slot, weight in production["weights"].items() if weight == 100]
    serving = [i for i in production["instances"] if i["slot"] == slot]
    assert [(i["release"], i["health"], i["routed"]) for i in serving] == [(lab.name("v1"), "ready", "in")] * 2


def test_releases_are_listed_newest_first_and_shown_one_by_one(lab: LabPlace, back: Released) -> None:
    listed = lab.slipway("releases", "list", "campus", "--json")
    assert listed.code == 0
    assert [record["id"] for record in listed.json] == [record.id for record in lab.records()][:20]
    assert listed.json[0]["id"] == back.record.id

    shown = lab.slipway("releases", "show", back.record.id[:8], "--json")
    assert shown.code == 0
    assert shown.json["record"]["outcome"] == "succeeded"
    assert [item["kind"] for item in shown.json["evidence"]] == [item.kind for item in back.evidence]
    assert lab.slipway("releases", "show", "no-such-run", "--json").code == 2
