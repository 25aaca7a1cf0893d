"""A release asks a person and waits. Nothing is held meanwhile, nothing is done twice, and only an answer lets it on.

Schedule and automations rest: what becomes of a run that waits in vain is asked for by hand.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest

from tasks.release.model import Outcome
from tests.support.approving import (
    ALL,
    START,
    answer,
    approve,
    asking,
    await_question,
    await_state,
    commit_asking,
    form,
    kill_prefect,
    kill_worker,
    processes_of,
    question_text,
)
from tests.support.events import names_of
from tests.support.lab import LabPlace, Users, failures
from tests.support.notifying import Chat, running_chat
from tests.support.processes import paused, wait_until
from tests.support.reconciling import WITHIN_S, Begun, prepare, reconcile, settings, worker
from tests.support.repositories import Repo

pytestmark = [pytest.mark.server, pytest.mark.slow]

BRANCH = "next"


@pytest.fixture(scope="module", autouse=True)
def _something_serves(lab: LabPlace) -> Iterator[None]:
    with lab.without_reconcile(), settings(lab):
        if len(lab.serving()) != 1:
            prepare(lab)
        commit_asking(lab, "twice", START, "100%")
        commit_asking(lab, "early", START)
        commit_asking(lab, "late", "100%")
        commit_asking(lab, "hasty", START, expires="8s")
        commit_asking(lab, "impatient", "100%", expires="8s")
        yield


def stable_of(lab: LabPlace) -> str:
    """Return the release that serves alone."""
    (stable,) = lab.serving()
    return stable


def require_unharmed(users: Users, since: datetime, until: datetime) -> None:
    report = users.report(since, until)
    assert failures(report) == (0, 0), report.failures


@dataclass(frozen=True)
class Waiting:
    """A release of a branch that waits before the start, who served when it came, and who was told."""

    run: Begun
    stable: str
    chat: Chat


class TestReleaseThatAsksTwice:
    """One release from its first question to its end."""

    @pytest.fixture(scope="class")
    def waiting(self, lab: LabPlace) -> Iterator[Waiting]:
        Repo(lab.lab.campus_repository).git("branch", "--force", BRANCH, "twice")
        with running_chat() as chat, settings(lab, webhook=chat.url):
            stable = stable_of(lab)
            with asking(lab, BRANCH, START) as run:
                yield Waiting(run, stable, chat)

    def test_no_process_is_held_and_production_is_untouched(self, lab: LabPlace, waiting: Waiting) -> None:
        assert processes_of(lab, waiting.run) == []
        assert lab.serving() == {waiting.stable: 100.0}
        assert lab.instances_of("twice") == []
        leases = [lab.estate.ledger.leases.find(f"campus/{name}") for name in ("staging", "production")]
        assert [(lease.holder, lease.parked) for lease in leases if lease] == [(waiting.run.id, True)] * 2

    def test_question_holds_what_a_person_needs_to_decide(self, lab: LabPlace, waiting: Waiting) -> None:
        text = question_text(lab, waiting.run, START)
        assert f"May campus {lab.versions['twice'][:7]} go to production?" in text
        assert "cannot prove who answers" in text
        assert "Without an answer within 1 h" in text
        assert f"way back | {waiting.stable[:7]}, without a rebuild" in text
        assert "| Quick canary twice | Ann Author |" in text
        for result in ("tests pass (imports)", "scans are clean (bandit)", "gate 'rehearsed in staging'"):
            assert result in text
        assert re.search(r"\d+\. shift (blue|green) to 25 %", text), "the plan is missing"

    def test_people_and_automations_are_told_that_an_answer_is_wanted(self, lab: LabPlace, waiting: Waiting) -> None:
        told = [str(message) for message in waiting.chat.taken]
        assert any(f"slipway approve {waiting.run.id[:8]}" in message for message in told), told
        assert names_of(lab.lab.api_url, waiting.run.id, headers=lab.lab.headers) == ["slipway.release.approval-wanted"]

    @pytest.mark.parametrize(
        ("filled_in", "why"),
        [
            pytest.param(None, "'decision' is a required property", id="nothing"),
            pytest.param(form("maybe"), "'maybe' is not one of", id="unknown decision"),
            pytest.param(form("approve", reason=" \n "), "does not match", id="blank reason"),
            pytest.param(form("approve", name=" "), "does not match", id="blank name"),
            pytest.param({**form("approve"), "force": "yes"}, "'force' was unexpected", id="extra key"),
            pytest.param(
                {"decision": "approve", "reason": "it is well"}, "'name' is a required property", id="no name"
            ),
        ],
    )
    def test_wrong_answer_is_refused_with_the_reason_and_the_run_still_waits(
        self, lab: LabPlace, waiting: Waiting, filled_in: object, why: str
    ) -> None:
        said = answer(lab, waiting.run, filled_in)
        assert not said.taken
        assert why in said.reason
        assert waiting.run.prefect_state == "Suspended"

    def test_command_line_refuses_what_is_no_answer_to_a_question(self, lab: LabPlace, waiting: Waiting) -> None:
        ended = next(record.id for record in lab.records() if record.outcome is Outcome.SUCCEEDED)
        for run_id, reason, why in (
            (waiting.run.id[:8], "  ", "the answer was not taken"),
            ("00000000", "it is well", "no such record"),
            (ended, "it is well", "does not wait for an answer"),
        ):
            done = lab.slipway("approve", run_id, "--reason", reason)
            assert done.code == 2
            assert why in done.err
        assert waiting.run.prefect_state == "Suspended"
        assert not [item for item in waiting.run.evidence if item.kind == "approval"]

    def test_approved_run_goes_on_where_it_was_although_worker_server_and_branch_are_others(
        self, lab: LabPlace, waiting: Waiting
    ) -> None:
        run, repository = waiting.run, Repo(lab.lab.campus_repository)
        repository.git("checkout", "--quiet", BRANCH)
        moved_to = repository.commit("The branch has moved on", {"CHANGES": "more\n"})
        repository.git("checkout", "--quiet", "--detach")
        kill_worker(lab)
        kill_prefect(lab)
        assert run.prefect_state == "Suspended"
        with lab.users() as users:
            since = datetime.now(UTC)
            done = lab.slipway("approve", run.id[:8], "--reason", "the figures are good", "--as", "ada")
            assert done.code == 0, done.err
            await_question(lab, run, ALL)
            assert lab.serving() == {waiting.stable: 75.0, lab.name("twice"): 25.0}
            kill_prefect(lab)
            kill_worker(lab)
            said = _at_once(lambda: lab.slipway("approve", run.id, "--reason", "go", "--as", "ada").code, 2)
            assert sorted(said) == [0, 2], "one answer is taken, exactly"
            record = run.await_end()
            until = datetime.now(UTC)
        require_unharmed(users, since, until)
        assert (record.outcome, record.error) == (Outcome.SUCCEEDED, None)
        assert record.commit == lab.versions["twice"] != moved_to
        assert lab.serving() == {lab.name("twice"): 100.0}

    def test_nothing_was_run_a_second_time(self, lab: LabPlace, waiting: Waiting) -> None:
        done = Counter((item.kind, item.name) for item in waiting.run.evidence)
        kinds = Counter(kind for kind, _ in done.elements())
        for kind in ("check-out", "build", "test", "scan", "publish", "end-to-end"):
            assert kinds[kind] == 1, kind
        for phase in ("prepare", "rehearse in staging"):
            assert done["phase", phase] == 1
        for stage in ("canary 25 %", "canary 100 %"):
            assert done["soaked", stage] == 1
        assert done["approval-asked", START] == done["approval-asked", ALL] == 1
        answers = [item.facts for item in waiting.run.evidence if item.kind == "approval"]
        assert [(facts["decision"], facts["by"]) for facts in answers] == [("approve", "ada")] * 2
        steps = [name for (kind, name) in done.elements() if kind == "step"]
        assert len([step for step in steps if step.endswith("to 25 %")]) == 1

    def test_answer_after_the_end_is_refused(self, lab: LabPlace, waiting: Waiting) -> None:
        assert not answer(lab, waiting.run, form("approve")).taken
        assert lab.slipway("reject", waiting.run.id, "--reason", "too late").code == 2
        assert lab.record(waiting.run.id).outcome is Outcome.SUCCEEDED


def _at_once(call: Callable[[], int], times: int) -> list[int]:
    with ThreadPoolExecutor(times) as pool:
        return [each.result() for each in [pool.submit(call) for _ in range(times)]]


def test_rejected_before_the_start_nothing_was_touched_and_it_is_on_record_who_and_why(lab: LabPlace) -> None:
    stable = stable_of(lab)
    with asking(lab, "early", START) as run:
        done = lab.slipway("reject", run.id[:8], "--reason", "not on a Friday", "--as", "grace")
        assert done.code == 0, done.err
        record = run.await_end()
    assert record.outcome is Outcome.FAILED
    assert record.error is not None and "grace has rejected it: not on a Friday" in record.error
    assert lab.serving() == {stable: 100.0}
    assert lab.instances_of("early") == []
    shown = lab.slipway("releases", "show", run.id[:8]).out
    assert "grace (not authenticated)" in shown and "not on a Friday" in shown


def test_run_that_is_set_going_without_an_answer_goes_no_further(lab: LabPlace) -> None:
    stable = stable_of(lab)
    with asking(lab, "early", START) as run:
        lab.prefect("POST", f"/flow_runs/{run.id}/set_state", {"state": {"type": "SCHEDULED"}, "force": True})
        record = run.await_end()
    assert record.outcome is Outcome.FAILED
    assert record.error is not None and "without an answer" in record.error
    assert lab.serving() == {stable: 100.0}


def test_rejected_with_a_quarter_of_the_traffic_it_is_rolled_back_and_nobody_notices(lab: LabPlace) -> None:
    stable = stable_of(lab)
    with lab.users() as users:
        since = datetime.now(UTC)
        with asking(lab, "late", ALL) as run:
            assert lab.serving() == {stable: 75.0, lab.name("late"): 25.0}
            assert answer(lab, run, form("reject", "users miss the old page", "grace")).taken
            record = run.await_end()
        until = datetime.now(UTC)
    require_unharmed(users, since, until)
    assert record.outcome is Outcome.ROLLED_BACK
    assert record.error is not None and "grace has rejected it: users miss the old page" in record.error
    assert lab.serving() == {stable: 100.0}
    assert lab.instances_of("late") == []


def test_answer_that_comes_too_late_is_refused_and_what_is_out_is_taken_back(lab: LabPlace) -> None:
    stable = stable_of(lab)
    with lab.users() as users:
        since = datetime.now(UTC)
        with asking(lab, "impatient", ALL) as run:
            _await_expiry(run, ALL)
            late = lab.slipway("approve", run.id, "--reason", "sorry, I was asleep")
            assert late.code == 2
            assert "the time for an answer was over at" in late.err
            assert not answer(lab, run, form("approve")).taken
            assert lab.serving() == {stable: 75.0, lab.name("impatient"): 25.0}, (
                "a refused answer has changed something"
            )
            assert reconcile(lab).state == "Completed"
            record = lab.record(run.id)
        until = datetime.now(UTC)
    require_unharmed(users, since, until)
    assert record.outcome is Outcome.ROLLED_BACK
    assert record.error is not None and "nobody has answered until" in record.error
    assert lab.serving() == {stable: 100.0}
    assert not answer(lab, run, form("approve")).taken


def test_release_that_nobody_answers_before_its_start_has_failed_and_cannot_be_approved_any_more(lab: LabPlace) -> None:
    stable = stable_of(lab)
    with asking(lab, "hasty", START) as run:
        _await_expiry(run, START)
        assert reconcile(lab).state == "Completed"
        record = lab.record(run.id)
        assert not answer(lab, run, form("approve")).taken
    assert record.outcome is Outcome.FAILED
    assert record.error is not None and "nobody has answered until" in record.error
    assert lab.serving() == {stable: 100.0}


def test_answer_in_time_counts_although_no_worker_takes_it_on_until_the_time_is_over(lab: LabPlace) -> None:
    with asking(lab, "hasty", START) as run:
        with paused(worker(lab)):
            approve(lab, run)
            _await_expiry(run, START)
            lease = lab.estate.ledger.leases.find("campus/production")
            assert lease is not None
            assert (lease.holder, lease.live) == (run.id, True), "others may go before a run that is about to go on"
        with lab.users() as users:
            since = datetime.now(UTC)
            record = run.await_end()
            until = datetime.now(UTC)
    require_unharmed(users, since, until)
    assert (record.outcome, record.error) == (Outcome.SUCCEEDED, None)
    assert lab.serving() == {lab.name("hasty"): 100.0}


def _await_expiry(run: Begun, before: str) -> None:
    (asked,) = [item for item in run.evidence if (item.kind, item.name) == ("approval-asked", before)]
    expires_at = datetime.fromisoformat(str(asked.facts["expires_at"]))
    # Prefect counts in whole seconds, and begins a moment later.
    wait_until(lambda: (datetime.now(UTC) - expires_at).total_seconds() > 3, what="the end of the time for an answer")


def test_release_that_gets_bad_while_it_waits_is_rolled_back_and_cannot_be_approved_any_more(lab: LabPlace) -> None:
    stable = stable_of(lab)
    with lab.users() as users:
        since = datetime.now(UTC)
        with asking(lab, "late", ALL) as run:
            assert reconcile(lab).state == "Completed"
            assert lab.record(run.id).outcome is Outcome.RUNNING, "a release that is well was not left waiting"
            _report_problems(lab, "late", 12)
            record = wait_until(lambda: _reconciled(lab, run), within_s=WITHIN_S, what="the roll-back")
            await_state(run, "Cancelled")
            assert not answer(lab, run, form("approve")).taken
            assert lab.slipway("approve", run.id, "--reason", "it is well").code == 2
        until = datetime.now(UTC)
    require_unharmed(users, since, until)
    assert record.error is not None and "bad while it waited for an answer: user reports 12 > 10" in record.error
    verdict = [item for item in run.evidence if item.name == "while it waits"][-1]
    assert any(sample["metric"] == "user_reports" and sample["candidate"] > 10 for sample in verdict.facts["samples"])
    assert lab.serving() == {stable: 100.0}
    assert lab.instances_of("late") == []


def _report_problems(lab: LabPlace, version: str, number: int) -> None:
    (address,) = lab.instances_of(version)
    for _ in range(number):
        said = httpx.post(f"http://{address}/api/v1/reports", json={"message": "the page is empty"}, timeout=10)
        assert said.status_code == 201


def _reconciled(lab: LabPlace, run: Begun) -> object:
    assert reconcile(lab).state == "Completed"
    record = lab.record(run.id)
    return record if record.outcome is Outcome.ROLLED_BACK else None


def test_rollback_by_hand_goes_before_a_release_that_waits(lab: LabPlace) -> None:
    stable = stable_of(lab)
    with lab.users() as users:
        since = datetime.now(UTC)
        with asking(lab, "late", ALL) as run:
            back = lab.slipway("rollback", "campus", "--reason", "users complain", "--json")
            assert back.code == 0, back.err
            await_state(run, "Cancelled")
            assert not answer(lab, run, form("approve")).taken
            record = lab.record(run.id)
        until = datetime.now(UTC)
    require_unharmed(users, since, until)
    assert (back.json["outcome"], back.json["release"]) == ("succeeded", stable)
    assert record.outcome in (Outcome.INTERRUPTED, Outcome.ROLLED_BACK)
    assert record.error is not None
    assert lab.serving() == {stable: 100.0}
    kept = [lab.estate.ledger.leases.find(f"campus/{name}") for name in ("staging", "production")]
    assert not [lease for lease in kept if lease is not None and lease.live], "the next release would have to wait"
