"""Three releases as in the demo: blue-green, a canary through all stages, and one that has to turn back by itself."""

from collections import Counter

import httpx
import pytest

from tasks.release.model import Kind, Outcome
from tests.support.events import await_events, related_to
from tests.support.lab import LabPlace, Released, failures, first_release, release_under_load

pytestmark = [pytest.mark.server, pytest.mark.slow]

WEIGHTS = [0.1, 1.0, 5.0, 25.0, 100.0]
# A thousandth of it must bring figures to judge by, before anybody loses patience.
ENOUGH_PER_S = 100


@pytest.fixture(scope="module")
def v1(lab: LabPlace) -> Released:
    return first_release(lab, "v1")


@pytest.fixture(scope="module")
def v2(lab: LabPlace, v1: Released) -> Released:
    assert v1.code == 0
    return release_under_load(lab, "release", "campus", "v2", per_s=ENOUGH_PER_S)


@pytest.fixture(scope="module")
def v3(lab: LabPlace, v2: Released) -> Released:
    assert v2.code == 0
    return release_under_load(lab, "release", "campus", "v3", per_s=ENOUGH_PER_S)


def test_first_release_serves_all_traffic(lab: LabPlace, v1: Released) -> None:
    assert (v1.code, v1.record.outcome) == (0, Outcome.SUCCEEDED)
    assert failures(v1.users) == (0, 0), v1.users.failures
    answer = httpx.get(f"{lab.url}/api/v1/courses")
    assert (answer.status_code, answer.headers["x-release"]) == (200, lab.name("v1"))
    assert lab.serving() == {lab.name("v1"): 100.0}


def test_canary_to_the_next_release_fails_no_request(lab: LabPlace, v2: Released) -> None:
    assert (v2.code, v2.record.outcome) == (0, Outcome.SUCCEEDED)
    assert failures(v2.users) == (0, 0), v2.users.failures
    assert set(v2.users.by_release) == {lab.name("v1"), lab.name("v2")}
    assert lab.serving() == {lab.name("v2"): 100.0}
    assert lab.instances_of("v1") == []


def test_record_of_a_release_is_complete(lab: LabPlace, v2: Released) -> None:
    record = v2.record
    assert (record.kind, record.service, record.environment) == (Kind.RELEASE, "campus", "production")
    assert (record.commit, record.release) == (lab.versions["v2"], lab.name("v2"))
    assert (record.strategy, record.error) == ("canary", None)
    assert record.requested_by
    assert record.ended_at is not None
    assert record.started_at < record.ended_at
    assert all(record.started_at <= item.at <= record.ended_at for item in v2.evidence)
    kinds = {item.kind for item in v2.evidence}
    assert kinds >= {"service-file", "preflight", "check-out", "build", "test", "coverage", "scan", "publish", "place"}
    assert kinds >= {"step", "smoke", "end-to-end", "stage", "verdict"}


def test_canary_goes_through_every_stage_and_each_was_passed(v2: Released) -> None:
    stages = [item for item in v2.of("stage") if item.facts["environment"] == "production"]
    weights = [item.facts["weight_percent"] for item in stages if item.name.startswith("canary")]
    assert weights == WEIGHTS
    last = {item.name: item.facts["decision"] for item in v2.of("verdict")}
    assert list(last) == [*(f"canary {weight:g} %" for weight in WEIGHTS), "validation"]
    assert set(last.values()) == {"pass"}


def test_staging_and_production_ran_the_very_same_digest(v2: Released) -> None:
    placed = {item.name: item.facts["digest"] for item in v2.of("place")}
    assert placed == {"staging": v2.record.digest, "production": v2.record.digest}
    assert [item.name for item in v2.of("publish")] == [v2.record.digest]


def test_prefect_shows_the_run_each_step_and_the_summary(lab: LabPlace, v2: Released) -> None:
    short = v2.record.commit[:7]
    run = lab.prefect("GET", f"/flow_runs/{v2.record.id}")
    assert (run["name"], run["state"]["name"]) == (f"campus {short} to production", "Completed")

    wanted = {"flow_runs": {"id": {"any_": [v2.record.id]}}}
    names = Counter(task["name"] for task in lab.prefect("POST", "/task_runs/filter", wanted))
    steps = Counter(f"{item.facts['environment']}: {item.name}" for item in v2.of("step"))
    assert steps <= names
    published = str(v2.record.digest).removeprefix("sha256:")[:12]
    assert {"preflight", f"check out {short}", f"build {short}", f"publish {published}"} <= set(names)
    assert {"staging: place release", "production: place release", "end-to-end: journey"} <= set(names)

    artifacts = {item["key"]: item["data"] for item in lab.prefect("POST", "/artifacts/filter", wanted)}
    summary = artifacts["release-campus-production"]
    assert all(fact in summary for fact in ("**succeeded**", v2.record.commit, str(v2.record.digest)))


def test_end_of_a_release_is_an_event_for_automations(lab: LabPlace, v2: Released, v3: Released) -> None:
    (good,), (bad,) = (await_events(lab.lab.api_url, each.record.id, headers=lab.lab.headers) for each in (v2, v3))
    assert (good["event"], bad["event"]) == ("slipway.release.promoted", "slipway.release.rolled-back")
    assert good["resource"]["prefect.resource.id"] == "slipway.service.campus.production"
    assert (good["payload"]["commit"], good["payload"]["error"]) == (lab.versions["v2"], "")
    assert "failed its checks" in bad["payload"]["error"]
    assert related_to(good, "flow-run") == [f"prefect.flow-run.{v2.record.id}"]
    assert len(related_to(good, "deployment")) == 1


def test_release_that_breaks_under_traffic_is_rolled_back_by_itself(lab: LabPlace, v3: Released) -> None:
    assert (v3.code, v3.record.outcome) == (3, Outcome.ROLLED_BACK)
    assert "failed its checks" in str(v3.record.error)
    assert [(item.name, item.facts["to"]) for item in v3.of("roll-back")] == [("production", lab.name("v2"))]
    assert lab.serving() == {lab.name("v2"): 100.0}
    assert lab.instances_of("v3") == []
    assert len(lab.instances_of("v2")) == 2
    assert lab.prefect_state(v3.record.id) == "Failed"


def test_bad_release_only_ever_had_its_share_of_the_users(lab: LabPlace, v3: Released) -> None:
    bad = v3.users.by_release[lab.name("v3")]
    assert bad.bad > 0
    assert v3.users.by_release[lab.name("v2")].failed == 0
    assert v3.users.unaccounted == 0
    assert bad.answered < v3.users.answered / 10


def test_no_user_reaches_a_bad_release_once_its_traffic_has_moved(lab: LabPlace, v3: Released) -> None:
    decided = next(item.at for item in v3.of("verdict") if item.facts["decision"] == "roll-back")
    moved = next(item for item in v3.of("step") if item.at > decided)
    assert moved.name.startswith("shift"), "the traffic moves before anything else is done"
    after = [answer for answer in v3.answers if answer.sent_at > moved.at]
    assert [answer for answer in after if answer.release == lab.name("v3")] == []
    assert after, "nobody asked after the traffic had moved, so nothing is proven"
