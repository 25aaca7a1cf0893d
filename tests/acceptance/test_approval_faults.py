"""Something is killed while a release waits for an answer with a quarter of the traffic, and as it goes on after it.

In every row the stable release keeps serving with all its instances, users lose at most what the killed process had in
its hands, and the release gets to its end: by itself, or when it is run again.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tasks.release.model import Outcome
from tests.support.approving import (
    ALL,
    approve,
    asking,
    at_full_strength,
    await_approval,
    await_question,
    commit_asking,
    kill_prefect,
    kill_program,
    kill_worker,
)
from tests.support.lab import LabPlace, Users, answers, kill
from tests.support.processes import wait_until
from tests.support.reconciling import WITHIN_S, Begun, begin_release, prepare, settings

pytestmark = [pytest.mark.server, pytest.mark.slow]

VERSIONS = ("odd", "even", "spare")
FEW = 5
"""Requests that one or two instances have in their hands at 50 a second; the slow report takes 2 s of its own."""
ALL_OF_A_SIDE = 100
"""Requests of two seconds, in which HAProxy finds out that a whole slot is dead (docs/known-limits.md)."""


@dataclass(frozen=True)
class Cast:
    """Who serves alone, and the version that wants to."""

    stable: str
    candidate: str


@dataclass(frozen=True)
class Fault:
    """Kills something, and returns when nothing of what is killed is in the way of users any more.

    Args:
        kill: does it.
        at_most: requests that may be lost with it.
        ends_the_run: the run's own process is among what is killed.
    """

    kill: Callable[[LabPlace, Cast], None]
    at_most: int | None = 0
    ends_the_run: bool = False


def _kill_haproxy(lab: LabPlace, _: Cast) -> None:
    kill_program(lab, "haproxy", lambda: answers(f"{lab.url}/health/ready"))


def _kill_one_stable(lab: LabPlace, cast: Cast) -> None:
    kill(_processes_of(lab, cast.stable)[0])


def _kill_candidates(lab: LabPlace, cast: Cast) -> None:
    lab.kill_all_of(cast.candidate)


def _processes_of(lab: LabPlace, release: str) -> list[int]:
    # In this order: an instance that is being started may come between the two.
    instances = [i for i in lab.production.runtime.observe() if i.release == release]
    known = lab.lab.supervisor.processes()
    return [pid for i in instances if (pid := known[f"campus-production-{i.slot}-{i.index}"].pid)]


FAULTS = [
    pytest.param(Fault(lambda lab, _: kill_worker(lab), ends_the_run=True), id="worker"),
    pytest.param(Fault(lambda lab, _: kill_prefect(lab)), id="Prefect server"),
    # All that are open, and all that come until it is there again.
    pytest.param(Fault(_kill_haproxy, at_most=None), id="HAProxy"),
    pytest.param(Fault(_kill_one_stable, at_most=FEW), id="one stable instance"),
    pytest.param(Fault(_kill_candidates, at_most=ALL_OF_A_SIDE), id="all candidate instances"),
]


@pytest.fixture(scope="module", autouse=True)
def _something_serves(lab: LabPlace) -> Iterator[None]:
    with lab.without_reconcile(), settings(lab):
        if len(lab.serving()) != 1:
            prepare(lab)
        for version in VERSIONS:
            commit_asking(lab, version, "100%")
        yield


def cast(lab: LabPlace) -> Cast:
    (stable,) = lab.serving()
    return Cast(stable, next(version for version in VERSIONS if lab.name(version) != stable))


@contextmanager
def only_its_own_harm(lab: LabPlace, fault: Fault, who: Cast) -> Iterator[Callable[[], None]]:
    """Users are there; yields what does the killing; afterwards nobody has lost more than what the fault took."""
    times: list[datetime] = []

    def strike() -> None:
        times.append(datetime.now(UTC))
        fault.kill(lab, who)
        times.append(datetime.now(UTC))

    with lab.users() as users:
        since = datetime.now(UTC)
        yield strike
        until = datetime.now(UTC)
    began_at, over_at = times
    _require_only(fault, users, (since, until), (began_at, over_at))


def _require_only(
    fault: Fault, users: Users, while_: tuple[datetime, datetime], killed: tuple[datetime, datetime]
) -> None:
    report = users.report(*while_)
    assert (report.scheduled > 0, report.unaccounted) == (True, 0)
    failed = [answer for answer in users.answers() if answer.error]
    foreign = [answer for answer in failed if answer.ended_at < killed[0] or answer.sent_at > killed[1]]
    assert foreign == [], "requests failed that were not in the hands of what was killed"
    assert fault.at_most is None or len(failed) <= fault.at_most, failed


@dataclass(frozen=True)
class Waiting:
    """A release that waits with a quarter of the traffic."""

    run: Begun
    who: Cast


class TestWhileItWaits:
    """One release, which is suspended while one thing after another is killed."""

    @pytest.fixture(scope="class")
    def waiting(self, lab: LabPlace) -> Iterator[Waiting]:
        who = cast(lab)
        with ExitStack() as stack:
            with lab.users():
                run = stack.enter_context(asking(lab, lab.versions[who.candidate], ALL))
            yield Waiting(run, who)

    @pytest.mark.parametrize("fault", FAULTS)
    def test_stable_serves_on_and_the_release_still_waits(self, lab: LabPlace, waiting: Waiting, fault: Fault) -> None:
        run, who = waiting.run, waiting.who
        with only_its_own_harm(lab, fault, who) as strike:
            strike()
            wait_until(
                lambda: at_full_strength(lab, who.stable),
                within_s=WITHIN_S,
                what="stable at full strength",
                every_s=0.1,
            )
            wait_until(
                lambda: at_full_strength(lab, lab.name(who.candidate), 1), within_s=WITHIN_S, what="the candidate again"
            )
        assert run.prefect_state == "Suspended"
        assert lab.record(run.id).outcome is Outcome.RUNNING
        assert lab.serving() == {who.stable: 75.0, lab.name(who.candidate): 25.0}

    def test_after_all_of_that_an_approval_takes_it_to_its_end(self, lab: LabPlace, waiting: Waiting) -> None:
        with lab.users():
            approve(lab, waiting.run)
            record = waiting.run.await_end()
        assert (record.outcome, record.error) == (Outcome.SUCCEEDED, None)
        assert lab.serving() == {lab.name(waiting.who.candidate): 100.0}


@pytest.mark.parametrize("fault", FAULTS)
def test_killed_right_after_the_approval_users_do_not_notice_and_the_release_gets_to_its_end(
    lab: LabPlace, fault: Fault
) -> None:
    who = cast(lab)
    with only_its_own_harm(lab, fault, who) as strike, asking(lab, lab.versions[who.candidate], ALL) as run:
        approve(lab, run)
        await_approval(run, ALL)
        strike()
        if fault.ends_the_run or run.await_end().outcome is not Outcome.SUCCEEDED:
            assert {who.stable, lab.name(who.candidate)} >= lab.serving().keys()
            _run_again(lab, who)
    assert lab.serving() == {lab.name(who.candidate): 100.0}
    assert at_full_strength(lab, lab.name(who.candidate))


def _run_again(lab: LabPlace, who: Cast) -> None:
    """The same release, run again and approved again where it asks again, succeeds."""
    again = begin_release(lab, who.candidate)
    wait_until(
        lambda: again.prefect_state == "Suspended" or again.record.outcome is not Outcome.RUNNING,
        within_s=WITHIN_S,
        what="another question, or the end",
        every_s=0.5,
    )
    if again.record.outcome is Outcome.RUNNING:
        await_question(lab, again, ALL)
        approve(lab, again)
    record = again.await_end()
    assert (record.outcome, record.error) == (Outcome.SUCCEEDED, None)
