"""Runs die, are paused, or meet one another. Nobody helps, users do not notice, and no two of them are at work at once.

Schedule and automations rest, but where a story is about them.
"""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from blocks.routers.haproxy_config import Names
from blocks.routers.haproxy_files import read_map, write_share_map
from tasks.common.lease import scope_of
from tasks.release.account import NOTHING
from tasks.release.model import Kind, Outcome
from tests.support.events import await_events, events_of, names_of, related_to
from tests.support.lab import LabPlace, failures, kill
from tests.support.notifying import running_chat
from tests.support.processes import paused, wait_until
from tests.support.reconciling import (
    WITHIN_S,
    automation,
    await_successor,
    begin,
    begin_release,
    cast,
    commit_swift,
    prepare,
    reconcile,
    runs_of,
    schedule,
    settings,
    tell_haproxy,
    worker,
)

pytestmark = [pytest.mark.server, pytest.mark.slow]

CRASHED = "slipway, a run has crashed"
SILENT = "slipway, a run is not heard of"


@pytest.fixture(scope="module", autouse=True)
def _a_quick_version_serves(lab: LabPlace) -> Iterator[None]:
    with lab.without_reconcile(), settings(lab):
        prepare(lab)
        yield


def test_crashed_release_is_rolled_back_by_the_automation_and_nobody_else(lab: LabPlace) -> None:
    stable, candidate, _ = cast(lab)
    with settings(lab, soak="60s"), automation(lab, CRASHED), lab.users() as users:
        since = datetime.now(UTC)
        run = begin_release(lab, candidate)
        run.await_soak()
        run.kill()
        record = run.await_end()
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert record.outcome is Outcome.ROLLED_BACK
    assert record.error is not None and "Prefect says Crashed" in record.error
    assert lab.serving() == {lab.name(stable): 100.0}
    assert lab.instances_of(candidate) == []
    (event,) = await_events(lab.lab.api_url, run.id, headers=lab.lab.headers)
    assert event["event"] == "slipway.release.rolled-back", "it did not end without its event"
    (by,) = runs_of(lab, "reconcile", since)
    assert sorted(related_to(event, "flow-run")) == sorted(f"prefect.flow-run.{each}" for each in (run.id, by["id"]))
    made_by = [(r["created_by"]["type"], r["created_by"]["display_value"]) for r in runs_of(lab, "reconcile", since)]
    assert made_by == [("AUTOMATION", CRASHED)]


def test_release_that_died_in_silence_is_rolled_back_by_the_schedule(lab: LabPlace) -> None:
    stable, candidate, _ = cast(lab)
    with settings(lab, soak="60s"), schedule(lab), lab.users() as users:
        since = datetime.now(UTC)
        run = begin_release(lab, candidate)
        run.await_soak()
        # The worker first: else it tells the Prefect server what has become of its child.
        kill(worker(lab), run.process())
        record = run.await_end()
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert record.outcome is Outcome.ROLLED_BACK
    assert record.error is not None and "Prefect says Running" in record.error
    assert lab.serving() == {lab.name(stable): 100.0}
    assert lab.instances_of(candidate) == []


def test_silence_is_noticed_by_an_automation_after_three_missing_heartbeats(lab: LabPlace) -> None:
    (found,) = [each for each in lab.prefect("POST", "/automations/filter", {}) if each["name"] == SILENT]
    trigger, (action,) = found["trigger"], found["actions"]
    assert (trigger["posture"], trigger["within"], trigger["threshold"]) == ("Proactive", 540, 1)
    assert trigger["after"] == ["prefect.flow-run.heartbeat"]
    ends = {"Completed", "Failed", "Cancelled", "Crashed", "Suspended"}
    assert set(trigger["expect"]) == {f"prefect.flow-run.{name}" for name in {"heartbeat", *ends}}
    deployment = lab.prefect("GET", "/deployments/name/reconcile/slipway")["id"]
    assert (action["type"], action["deployment_id"]) == ("run-deployment", deployment)


def test_dead_release_is_reported_or_resumed_once_as_the_estate_wants_and_then_rolled_back(lab: LabPlace) -> None:
    stable, candidate, _ = cast(lab)
    with settings(lab, soak="60s"), lab.users() as users:
        since = datetime.now(UTC)
        run = begin_release(lab, candidate)
        run.await_soak()
        run.kill()
        serving, facts = lab.serving(), run.evidence
        with settings(lab, after_crash="report"):
            reported = reconcile(lab)
        assert reported.state == "Failed"
        assert "'slipway status' shows what serves; then run the release again" in reported.report
        assert (run.record.outcome, run.evidence, lab.serving()) == (Outcome.RUNNING, facts, serving)

        with settings(lab, soak="60s", after_crash="resume"):
            assert reconcile(lab).state == "Completed"
            resumed = await_successor(lab, run, since)
            resumed.await_soak()
            assert run.record.outcome is Outcome.INTERRUPTED
            resumed.kill()
            assert reconcile(lab).state == "Completed"
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert resumed.record.outcome is Outcome.ROLLED_BACK
    assert resumed.record.requested_by.startswith(f"reconcile, for run {run.id[:8]} of ada")
    assert lab.serving() == {lab.name(stable): 100.0}
    assert len(runs_of(lab, "release", since)) == 2


def test_resumed_release_is_left_alone_by_another_reconciliation_and_finishes(lab: LabPlace) -> None:
    _, candidate, _ = cast(lab)
    # A lease that a busy machine cannot keep from being renewed: here nobody must lose it.
    with settings(lab, lease="10s", soak="12s", after_crash="resume"), lab.users() as users:
        since = datetime.now(UTC)
        run = begin_release(lab, candidate)
        run.await_soak()
        run.kill()
        assert reconcile(lab).state == "Completed"
        assert reconcile(lab).state == "Completed"
        resumed = await_successor(lab, run, since)
        resumed.await_soak()
        serving = lab.serving()
        assert reconcile(lab).state == "Completed"
        assert (resumed.record.outcome, lab.serving()) == (Outcome.RUNNING, serving)
        record = resumed.await_end()
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert (record.outcome, record.error) == (Outcome.SUCCEEDED, None)
    assert run.record.outcome is Outcome.INTERRUPTED
    assert lab.serving() == {lab.name(candidate): 100.0}
    assert {r["id"] for r in runs_of(lab, "release", since)} == {run.id, resumed.id}
    stages = [e.name for e in resumed.evidence if e.kind == "stage" and e.facts["environment"] == "production"]
    assert stages[0].startswith("canary 5 %"), "traffic that the candidate had was taken away from it"


def test_killed_rollback_is_finished_whatever_the_estate_wants_of_releases(lab: LabPlace) -> None:
    serving = cast(lab)[0]
    kept = next(
        r.release for r in lab.estate.ledger.succeeded("campus", "production", 9) if r.release != lab.name(serving)
    )
    with settings(lab, after_crash="roll-back"), lab.users() as users:
        since = datetime.now(UTC)
        run = begin(lab, "rollback", to=kept)
        run.await_step("start", "production")
        run.kill()
        assert reconcile(lab).state == "Completed"
        finished = wait_until(
            lambda: [
                r
                for r in lab.records()
                if r.kind is Kind.ROLLBACK and r.outcome is Outcome.SUCCEEDED and r.started_at > since
            ],
            within_s=WITHIN_S,
            what="the rollback that finishes it",
            every_s=0.5,
        )
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert lab.serving() == {kept: 100.0}
    assert run.record.outcome is Outcome.INTERRUPTED
    assert [r.requested_by.startswith("reconcile") for r in finished] == [True]


def test_release_that_died_in_the_build_is_closed_and_nothing_was_touched(lab: LabPlace) -> None:
    before = _production(lab), _staging(lab)
    run = begin_release(lab, cast(lab)[1])
    run.await_kind("check-out")
    run.kill()
    assert not [e for e in run.evidence if e.kind == "place"], "the build was over before the kill"
    assert reconcile(lab).state == "Completed"
    assert run.record.outcome is Outcome.FAILED
    assert names_of(lab.lab.api_url, run.id, headers=lab.lab.headers) == ["slipway.release.failed"]
    assert (_production(lab), _staging(lab)) == before


def test_release_that_died_in_its_rehearsal_is_taken_back_in_staging_too(lab: LabPlace) -> None:
    # The rehearsal is not over before it is killed.
    commit_swift(lab, "rehearsed", ["sleep", "30"])
    before = _production(lab), lab.estate.site("campus", "staging").router.observe().weights
    run = begin_release(lab, "rehearsed")
    run.await_step("shift", "staging")
    run.kill()
    assert reconcile(lab).state == "Completed"
    assert run.record.outcome is Outcome.ROLLED_BACK
    assert (_production(lab), lab.estate.site("campus", "staging").router.observe().weights) == before
    assert lab.name("rehearsed") not in {i.release for i in lab.estate.site("campus", "staging").runtime.observe()}


def test_half_made_candidates_are_stopped_and_what_can_be_returned_to_is_not(lab: LabPlace) -> None:
    commit_swift(lab, "half-made")
    run = begin_release(lab, "half-made")
    run.await_step("start", "production")
    run.kill()
    lab.estate.ledger.end(run.id, Outcome.FAILED, datetime.now(UTC), "ended by hand", None)
    made, staging = lab.instances_of("half-made"), _staging(lab)
    # Until then somebody is at work there, and a reconciliation leaves them alone.
    leases, scope = lab.estate.ledger.leases, scope_of("campus", "production")
    wait_until(lambda: not (lease := leases.find(scope)) or not lease.live, what="the end of the dead run's lease")
    kept = {i.release for i in lab.estate.site("campus", "staging").runtime.observe()} - {lab.name("half-made")}
    assert made and kept, "nothing was planted"
    reported = reconcile(lab)
    assert reported.state == "Completed"
    assert lab.instances_of("half-made") == []
    assert f"of {lab.name('half-made')[:7]}, which had no traffic" in reported.report
    assert _staging(lab) == staging


def _production(lab: LabPlace) -> object:
    return lab.production.runtime.observe(), lab.production.router.observe().weights


def _staging(lab: LabPlace) -> object:
    site = lab.estate.site("campus", "staging")
    return [(i.slot, i.index, i.release) for i in site.runtime.observe()], site.router.observe().weights


def test_what_was_changed_by_hand_is_reported_once_and_left_as_it_is(lab: LabPlace) -> None:
    names = Names("campus", "production", lab.lab.home / "haproxy")
    serving = next(slot for slot, weight in lab.production.router.observe().weights.items() if weight == 100)
    share = (read_map(names.share_map) or {})["green"]
    moved = str(abs(int(share) - 5000))
    with running_chat() as chat, settings(lab, webhook=f"{chat.url}/hook"):
        assert reconcile(lab).report == NOTHING
        tell_haproxy(lab, f"set map {names.share_map} green {moved}")
        tell_haproxy(lab, f"set server {names.server(serving, 1)} state maint")
        lab.lab.supervisor.ask_to_stop(f"campus-production-{serving}-0")
        wait_until(lambda: len(_dead(lab)) == 1, what="the end of one instance")
        found = _production(lab)
        first = reconcile(lab)
        assert first.state == "Completed"
        for expected in (" 95 %", "is dead", "instances serve", "somebody has told it something by hand"):
            assert expected in first.report
        told = len(chat.taken)
        assert told == 1
        wait_until(
            lambda: (
                "slipway.reconcile.drift"
                in {each["event"] for each in events_of(lab.lab.api_url, "", headers=lab.lab.headers)}
            ),
            what="the event of the drift",
        )
        assert reconcile(lab).report == first.report
        assert len(chat.taken) == told, "the same drift was told of twice"
        assert _production(lab) == found, "drift was not only reported"

        lab.lab.supervisor.add(f"campus-production-{serving}-0")
        tell_haproxy(lab, f"set server {names.server(serving, 1)} state ready")
        tell_haproxy(lab, f"set map {names.share_map} green {share}")
        write_share_map(names, {"green": moved})
        _await_all_up(lab)
        edited = reconcile(lab)
        assert "a restart brings back" in edited.report and "instances serve" not in edited.report
        assert len(chat.taken) == told + 1

        write_share_map(names, {"green": share})
        assert reconcile(lab).report == NOTHING
        assert len(chat.taken) == told + 1


def _dead(lab: LabPlace) -> list[str]:
    return [i.address for i in lab.production.runtime.observe() if i.health == "dead"]


def _await_all_up(lab: LabPlace) -> None:
    def up() -> bool:
        members = lab.production.router.observe().members
        return len(members) == 2 and all(member.up for member in members)

    wait_until(up, within_s=60, what="both instances in the router")


def test_second_release_is_refused_or_waits_its_turn_and_names_the_first(lab: LabPlace) -> None:
    _, candidate, other = cast(lab)
    with settings(lab, lease="10s"), lab.users() as users:
        since = datetime.now(UTC)
        # Not over before the others wait.
        with settings(lab, lease="10s", soak="12s"):
            first = begin_release(lab, candidate)
            first.await_kind("lease")
        with settings(lab, when_busy="refuse"):
            refused = begin_release(lab, other)
        second = begin_release(lab, other)
        second.await_kind("waiting")
        third = begin_release(lab, other)
        third.await_kind("waiting")
        records = [each.await_end() for each in (first, second, third)]
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert refused.await_end().outcome is Outcome.FAILED
    assert f"{first.id} may change campus/staging, this run may not" in str(refused.record.error)
    assert [record.outcome for record in records] == [Outcome.SUCCEEDED] * 3
    assert {e.facts["held_by"] for e in second.evidence if e.kind == "waiting"} == {first.id}
    turns = [next(e.at for e in each.evidence if e.kind == "lease") for each in (first, second, third)]
    ends = [record.ended_at for record in records]
    assert [turn > end for turn, end in zip(turns[1:], ends, strict=False) if end is not None] == [True, True]
    assert lab.serving() == {lab.name(other): 100.0}


def test_superseded_release_turns_back_and_the_second_one_succeeds(lab: LabPlace) -> None:
    _, candidate, other = cast(lab)
    with settings(lab, lease="10s", when_busy="supersede"), lab.users() as users:
        since = datetime.now(UTC)
        with settings(lab, lease="10s", soak="120s", when_busy="supersede"):
            first = begin_release(lab, candidate)
            first.await_soak()
        second = begin_release(lab, other)
        records = first.await_end(), second.await_end()
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert [record.outcome for record in records] == [Outcome.ROLLED_BACK, Outcome.SUCCEEDED]
    assert lab.serving() == {lab.name(other): 100.0}
    assert lab.instances_of(candidate) == []
    assert first.await_final() == "Cancelled"


def test_paused_release_that_wakes_up_after_another_one_took_over_changes_nothing(lab: LabPlace) -> None:
    _, candidate, other = cast(lab)
    with lab.users() as users:
        since = datetime.now(UTC)
        with settings(lab, soak="60s"):
            first = begin_release(lab, candidate)
            first.await_soak()
        with paused(first.process()):
            with settings(lab, soak="12s"):
                second = begin_release(lab, other)
            second.await_soak()
            assert first.record.outcome is Outcome.ROLLED_BACK
            assert lab.instances_of(candidate) == []
            woken_at = datetime.now(UTC)
        ended = first.await_final()
        record = second.await_end()
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert first.changes_since(woken_at) == []
    assert (ended, first.record.outcome) == ("Failed", Outcome.ROLLED_BACK)
    assert record.outcome is Outcome.SUCCEEDED
    assert lab.serving() == {lab.name(other): 100.0}


def test_paused_release_that_wakes_up_after_it_was_reconciled_changes_nothing(lab: LabPlace) -> None:
    stable, candidate, _ = cast(lab)
    with settings(lab, soak="60s"), lab.users() as users:
        since = datetime.now(UTC)
        run = begin_release(lab, candidate)
        run.await_soak()
        with paused(run.process()):
            wait_until(lambda: not _held(lab), within_s=60, what="the end of the lease")
            assert reconcile(lab).state == "Completed"
            assert run.record.outcome is Outcome.ROLLED_BACK
            after, woken_at = _production(lab), datetime.now(UTC)
        ended = run.await_final()
        until = datetime.now(UTC)
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures
    assert run.changes_since(woken_at) == []
    assert ended != "Completed"
    assert run.record.outcome is Outcome.ROLLED_BACK
    assert lab.serving() == {lab.name(stable): 100.0}
    assert _production(lab) == after


def _held(lab: LabPlace) -> bool:
    lease = lab.estate.ledger.leases.find("campus/production")
    return lease is not None and lease.live


def test_release_outlives_the_ledgers_postgresql_and_no_other_one_gets_in_between(lab: LabPlace) -> None:
    _, candidate, _ = cast(lab)
    # A lease is the ledger's time: one that ends while the ledger is away belongs to whoever asks first afterwards.
    with settings(lab, soak="15s", lease="60s"), lab.users():
        run = begin_release(lab, candidate)
        run.await_soak()
        # It waits for its turn while the ledger is away, and must not get it before the first one has ended.
        other = begin_release(lab, candidate)
        other.await_kind("waiting")
        postgresql = lab.lab.supervisor.processes()["postgresql"].pid
        os.kill(postgresql, signal.SIGKILL)
        wait_until(
            lambda: lab.lab.supervisor.processes()["postgresql"].pid not in (0, postgresql),
            within_s=WITHIN_S,
            what="another PostgreSQL",
        )
        record = run.await_end()
        assert record.outcome in (Outcome.SUCCEEDED, Outcome.ROLLED_BACK)
        assert other.await_end().outcome is Outcome.SUCCEEDED
    assert lab.serving() == {lab.name(candidate): 100.0}
    assert next(e.at for e in other.evidence if e.kind == "lease") > max(e.at for e in run.evidence if e.kind == "step")
