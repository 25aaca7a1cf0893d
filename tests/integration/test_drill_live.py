"""A live drill: nothing is broken before a person has said yes, and no answer but a yes lets it begin."""

from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow

from deployments.drill_command import answer_drill
from flows.drill import drill
from tasks.common.errors import SlipwayError
from tasks.common.run_steps import start_run
from tasks.common.schedules import DEPLOYMENT
from tasks.drill.request import DrillRequest
from tests.support.drill_place import KILL, DrillPlace, drill_place, experiment
from tests.support.prefect_server import flows_of

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, prefect_api: str) -> Iterator[DrillPlace]:
    with drill_place(request.getfixturevalue("postgresql_cluster").database(), prefect_api) as place:
        place.write(experiment("live-kill", KILL, mode="live"))
        place.describe(cluster={"live": True}, business_hours=["office"])
        with (place.folder / "estate.yaml").open("a") as file:
            file.write('windows: {office: {from: "00:00", until: "23:59"}}\n')
        yield place


def begin(place: DrillPlace) -> str:
    with flows_of(place.api), get_client(sync_client=True) as client:
        client.create_deployment(flow_id=client.create_flow(drill), name=DEPLOYMENT)
        run_id = start_run("drill", DrillRequest(drill="live-kill", estate=str(place.folder / "estate.yaml")))
        run = client.read_flow_run(UUID(run_id))
        with pytest.raises(Pause):
            run_flow(drill, flow_run=run, parameters=run.parameters)
    return run_id


def go_on(place: DrillPlace, run_id: str, decision: str) -> State:
    with flows_of(place.api), get_client(sync_client=True) as client:
        said = {"decision": decision, "reason": "it is well", "name": "ann"}
        assert answer_drill(place.open().ledger.drills, run_id[:8], said)
        run = client.read_flow_run(UUID(run_id))
        with suppress(SlipwayError):
            run_flow(drill, flow_run=run, parameters=run.parameters)
        state = client.read_flow_run(UUID(run_id)).state
        assert state is not None
        return state


def pid_of(place: DrillPlace) -> str:
    return (place.server.data / "postmaster.pid").read_text().split()[0]


def test_live_drill_waits_for_a_person_and_begins_after_a_yes(place: DrillPlace) -> None:
    before = pid_of(place)
    run_id = begin(place)
    assert pid_of(place) == before
    assert "practises here: no second drill" in place.practise("live-kill").error.what
    state = go_on(place, run_id, "approve")
    assert state.is_completed(), state.message
    assert pid_of(place) != before
    assert [each.kind for each in place.open().ledger.drills.notes(run_id)] == ["asked", "answered", "round", "ended"]


def test_live_drill_that_was_rejected_breaks_nothing(place: DrillPlace) -> None:
    before = pid_of(place)
    state = go_on(place, begin(place), "reject")
    assert state.is_failed() and "ann has rejected it: it is well" in str(state.message)
    assert pid_of(place) == before
