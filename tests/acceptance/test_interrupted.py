"""Things are killed half way. Users must not notice, and the same command, run again, must finish the work."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tasks.release.model import Outcome
from tests.support.lab import LabPlace, commit_quick_canary, failures, kill
from tests.support.processes import wait_until
from tests.support.reconciling import settings

pytestmark = [pytest.mark.server, pytest.mark.slow]

SOAK = "canary 5 %"


@pytest.fixture(scope="module", autouse=True)
def _something_serves(lab: LabPlace) -> Iterator[None]:
    if not lab.serving():
        lab.require_released("v1")
    for version in ("v4", "v5"):
        commit_quick_canary(lab, version)
    # What becomes of dead runs without anybody's help is test_reconcile's story.
    with lab.without_reconcile(), settings(lab, lease="10s", soak="5s"):
        yield


def test_killed_flow_costs_no_request_and_the_same_release_finishes_when_run_again(lab: LabPlace) -> None:
    stable = next(iter(lab.serving()))
    with lab.users() as users:
        since = datetime.now(UTC)
        with lab.following("release", "campus", "v4") as run:
            run.await_evidence("verdict", SOAK)
            killed_at = run.kill()
            assert run.exit_code() == 4
        assert lab.prefect_state(run.id) == "Crashed"
        assert lab.serving() == {stable: 95.0, lab.name("v4"): 5.0}
        wait_until(lambda: {stable, lab.name("v4")} <= users.served_since(killed_at).keys(), what="answers of both")

        with lab.following("release", "campus", "v4") as again:
            assert again.exit_code() == 0, lab.record(again.id).error
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert lab.record(again.id).outcome is Outcome.SUCCEEDED
    assert lab.serving() == {lab.name("v4"): 100.0}
    resumed = [e.name for e in again.evidence if e.kind == "stage" and e.facts["environment"] == "production"]
    assert resumed[0].startswith(SOAK), "traffic that the candidate had was taken away from it"


def test_cancelled_release_leaves_the_former_one_serving_and_its_outcome_on_record(lab: LabPlace) -> None:
    lab.require_released("v4")
    with lab.users() as users:
        since = datetime.now(UTC)
        with lab.following("release", "campus", "v5") as run:
            run.await_evidence("verdict", SOAK)
            lab.prefect("POST", f"/flow_runs/{run.id}/set_state", {"state": {"type": "CANCELLING"}})
            assert run.exit_code() == 3, lab.record(run.id).error
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert lab.record(run.id).outcome is Outcome.ROLLED_BACK
    assert lab.serving() == {lab.name("v4"): 100.0}
    assert lab.instances_of("v5") == []
    assert lab.prefect_state(run.id) == "Cancelled"


def test_roll_back_that_is_killed_half_way_costs_no_request_and_is_finished_by_a_rollback(lab: LabPlace) -> None:
    lab.require_released("v4")
    with lab.users() as users:
        since = datetime.now(UTC)
        with lab.following("release", "campus", "v5") as run:
            run.await_evidence("verdict", SOAK)
            flow = run.flow_process()
            lab.prefect("POST", f"/flow_runs/{run.id}/set_state", {"state": {"type": "CANCELLING"}})
            run.await_evidence("roll-back", "production")
            killed_at = kill(flow)
        assert run.evidence[-1].kind in ("roll-back", "step"), "the roll-back was over before the kill"
        assert lab.instances_of("v5"), "the roll-back was over before the kill"
        wait_until(lambda: lab.name("v4") in users.served_since(killed_at), what="an answer of the stable release")

        with lab.following("rollback", "campus", lab.name("v4")) as back:
            assert back.exit_code() == 0, lab.record(back.id).error
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert lab.record(back.id).outcome is Outcome.SUCCEEDED
    assert lab.serving() == {lab.name("v4"): 100.0}


def test_candidate_that_is_killed_costs_at_most_its_share_until_haproxy_has_found_out(lab: LabPlace) -> None:
    lab.require_released("v4")
    with lab.users() as users:
        since = datetime.now(UTC)
        with lab.following("release", "campus", "v5") as run:
            run.await_evidence("verdict", SOAK)
            before = lab.processes_of("v5")
            _, found_out_at = lab.kill_all_of("v5")
            code = run.exit_code()
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert report.unaccounted == 0
    late = [answer for answer in users.answers() if answer.error and answer.sent_at > found_out_at]
    assert late == [], "requests failed that were sent when nothing was sent to the candidate any more"
    # 5 % of 50 a second, for the second or two that the checks take, and what was in its hands.
    assert report.failed <= 10
    expected = {0: (Outcome.SUCCEEDED, "v5"), 3: (Outcome.ROLLED_BACK, "v4")}
    outcome, serving = expected[code]
    assert lab.record(run.id).outcome is outcome
    assert lab.serving() == {lab.name(serving): 100.0}
    assert not set(before) & set(lab.processes_of("v5"))
