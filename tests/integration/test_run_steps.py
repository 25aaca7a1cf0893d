"""Runs on a real Prefect server: started once, cancelled, asked about, answered; and every way that this is refused."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import Flow, flow, suspend_flow_run
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Running

from tasks.common.approval_steps import Decision
from tasks.common.errors import Refused, Retryable
from tasks.common.run_steps import DEPLOYMENT, answer_run, cancel_run, start_run, state_of
from tasks.release.request import ReconcileRequest, ReleaseRequest
from tests.support.prefect_server import flows_of
from tests.support.processes import free_port

pytestmark = pytest.mark.server
REQUEST = ReleaseRequest(service="campus", commit="main")
YES = {"decision": "approve", "reason": "it is well", "name": "ann"}


@flow(name="asking")
def asking(request: ReleaseRequest) -> str:
    """Ask a person, and return what the person says."""
    form = Decision.with_initial_data(description=f"May {request.commit} go on?")
    answer = suspend_flow_run(wait_for_input=form, timeout=600, key="approve-start")
    return f"{answer.name} says {answer.decision}: {answer.reason}"


@flow(name="quick")
def quick(request: ReleaseRequest) -> None:
    """End at once."""


@pytest.fixture(scope="module", autouse=True)
def server(prefect_api: str) -> Iterator[None]:
    """A Prefect server where both flows are deployed."""
    with flows_of(prefect_api):
        deploy(asking, quick)
        yield


def deploy(*flows: Flow[..., Any]) -> None:
    with get_client(sync_client=True) as client:
        for each in flows:
            client.create_deployment(flow_id=client.create_flow(each), name=DEPLOYMENT)


def run_of(run_id: str) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(run_id))


def go_on(work: Flow[..., Any], run_id: str) -> Any:
    """Do what a worker does with a scheduled run."""
    return run_flow(work, flow_run=run_of(run_id), parameters={"request": REQUEST})


@pytest.fixture
def suspended() -> str:
    """A run that waits for an answer."""
    run_id = start_run("asking", REQUEST)
    with pytest.raises(Pause):
        go_on(asking, run_id)
    found = state_of(run_id)
    assert found is not None
    assert (found.type, found.name) == (StateType.PAUSED, "Suspended")
    return run_id


@pytest.fixture
def ended() -> str:
    run_id = start_run("quick", REQUEST)
    go_on(quick, run_id)
    return run_id


def name_of(run_id: str) -> str | None:
    found = state_of(run_id)
    return found.name if found is not None else None


# Started


def test_run_is_scheduled_with_what_was_asked_for() -> None:
    run = run_of(start_run("quick", REQUEST))
    assert run.parameters == {"request": REQUEST.model_dump()}
    assert run.state is not None
    assert run.state.type is StateType.SCHEDULED


def test_run_that_is_started_twice_with_the_same_key_is_one_run() -> None:
    key = f"resume-{uuid4()}"
    assert start_run("quick", REQUEST, key=key) == start_run("quick", REQUEST, key=key)
    assert start_run("quick", REQUEST, key=f"{key}-other") != start_run("quick", REQUEST, key=key)


def test_run_that_is_started_twice_without_a_key_is_two_runs() -> None:
    assert start_run("quick", REQUEST) != start_run("quick", REQUEST)


def test_key_still_gives_the_first_run_when_that_one_has_ended() -> None:
    key = f"resume-{uuid4()}"
    first = start_run("quick", REQUEST, key=key)
    go_on(quick, first)
    assert start_run("quick", REQUEST, key=key) == first


def test_flow_that_is_not_deployed_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="the flow reconcile is not deployed") as caught:
        start_run("reconcile", ReconcileRequest())
    assert "'slipway up' deploys it" in caught.value.next_action


# Asked about


def test_run_that_nobody_knows_has_no_state() -> None:
    assert state_of(str(uuid4())) is None
    assert state_of("run-1") is None


# Cancelled


def test_run_that_nobody_knows_is_not_cancelled() -> None:
    assert not cancel_run(str(uuid4()), "another run goes before it")
    assert not cancel_run("run-1", "another run goes before it")


def test_run_that_is_at_work_is_told_to_stop() -> None:
    run_id = start_run("quick", REQUEST)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(run_id), Running())
    assert cancel_run(run_id, "another run goes before it")
    found = state_of(run_id)
    assert found is not None
    assert (found.type, found.message) == (StateType.CANCELLING, "another run goes before it")
    assert cancel_run(run_id, "again")


def test_suspended_run_that_is_cancelled_never_wakes_up(suspended: str) -> None:
    assert cancel_run(suspended, "it was brought to its end")
    found = state_of(suspended)
    assert found is not None
    assert found.is_final(), found
    with pytest.raises(Refused, match="the answer was not taken"):
        answer_run(suspended, YES)


def test_run_that_has_ended_stays_as_it_ended(ended: str) -> None:
    assert cancel_run(ended, "it was brought to its end")
    assert name_of(ended) == "Completed"


# Answered


def test_answer_is_taken_once_and_the_run_goes_on_with_it(suspended: str) -> None:
    answer_run(suspended, YES)
    found = state_of(suspended)
    assert found is not None
    assert found.type is StateType.SCHEDULED
    with pytest.raises(Refused, match="the answer was not taken"):
        answer_run(suspended, YES)
    assert go_on(asking, suspended) == "ann says approve: it is well"


@pytest.mark.parametrize("run_id", ["run-1", "", "00000000-0000-0000-0000-000000000000"])
def test_answer_to_a_run_that_nobody_knows_is_refused(run_id: str) -> None:
    with pytest.raises(Refused, match="does not know this run") as caught:
        answer_run(run_id, YES)
    assert caught.value.on == f"run {run_id}"


def test_answer_to_a_run_that_does_not_wait_is_refused(ended: str) -> None:
    for run_id in (ended, start_run("quick", REQUEST)):
        before = name_of(run_id)
        with pytest.raises(Refused, match="the answer was not taken") as caught:
            answer_run(run_id, YES)
        assert caught.value.state == "the run is as it was"
        assert name_of(run_id) == before


@pytest.mark.parametrize(
    "answer", [{}, {"decision": "perhaps", "reason": "it is well", "name": "ann"}, {**YES, "reason": " "}]
)
def test_answer_that_is_none_is_refused_and_the_run_waits_on(suspended: str, answer: dict[str, str]) -> None:
    with pytest.raises(Refused, match="the answer was not taken"):
        answer_run(suspended, answer)
    assert name_of(suspended) == "Suspended"


# No server


CALLS: dict[str, Callable[[], object]] = {
    "start": lambda: start_run("quick", REQUEST),
    "ask about": lambda: state_of(str(uuid4())),
    "cancel": lambda: cancel_run(str(uuid4()), "why"),
    "answer": lambda: answer_run(str(uuid4()), YES),
}


@pytest.mark.parametrize("call", CALLS)
def test_server_that_does_not_answer_may_be_asked_again(call: str) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: nowhere}), pytest.raises(Retryable, match="does not answer") as caught:
        CALLS[call]()
    assert "slipway up" in caught.value.next_action
