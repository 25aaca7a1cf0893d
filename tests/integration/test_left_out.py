"""Runs of a schedule that were missed, on a real Prefect server: one makes up for all, and the others say so."""

import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.schedules import RRuleSchedule

from blocks.estate import open_estate
from tasks.common.schedule_steps import LEFT_OUT, end_if_left_out
from tests.support.prefect_server import flows_of
from tests.support.processes import wait_until
from tests.support.server import estate

pytestmark = [pytest.mark.server, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
MISSED = 4


@flow(name="nightly")
def nightly(file: str) -> State | None:
    """Does its work, unless it is left out."""
    return end_if_left_out(open_estate(file))


def due(deployment: UUID) -> list[FlowRun]:
    """Return the deployment's runs that nobody has taken in time; other tests leave runs of theirs on the server."""
    with get_client(sync_client=True) as client:
        wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])))
        of_it = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        runs = client.read_flow_runs(flow_run_filter=wanted, deployment_filter=of_it)
        return [run for run in runs if run.state is not None and run.estimated_start_time_delta.total_seconds() > 0]


def _every_second() -> str:
    """Return a schedule that has a last run. It begins when the server has had time to see it."""
    begin = datetime.now(UTC) + timedelta(seconds=15)
    last = begin + timedelta(seconds=MISSED - 1)
    return f"DTSTART:{begin:%Y%m%dT%H%M%S}\nRRULE:FREQ=SECONDLY;UNTIL={last:%Y%m%dT%H%M%S}"


def execute(run: FlowRun, api: str) -> State:
    """Run it as a worker does, in a process of its own; returns its last state."""
    env = {**os.environ, "PREFECT_API_URL": api, "PREFECT__FLOW_RUN_ID": str(run.id)}
    done = subprocess.run([sys.executable, "-m", "prefect.engine"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run.id).state
    assert state is not None
    return state


def test_of_the_runs_that_were_missed_one_works(prefect_api: str, tmp_path: Path) -> None:
    file = tmp_path / "estate.yaml"
    wanted = estate(schedules={"missed": {"start": "release", "cron": "0 2 * * *"}})
    file.write_text(yaml.safe_dump(wanted.model_dump(mode="json", by_alias=True, exclude_defaults=True)))
    with flows_of(prefect_api), get_client(sync_client=True) as client:
        deployment = client.create_deployment(
            client.create_flow(nightly),
            "missed",
            entrypoint="tests.integration.test_left_out.nightly",
            parameters={"file": str(file)},
            schedules=[DeploymentScheduleCreate(schedule=RRuleSchedule(rrule=_every_second()), slug="missed")],
        )
        wait_until(lambda: len(due(deployment)) >= MISSED, within_s=60, what="runs that nobody takes")
        missed = due(deployment)
        by_hand = client.create_flow_run_from_deployment(deployment)
        ended = Counter(execute(run, prefect_api).name for run in missed)
        assert ended == {LEFT_OUT: len(missed) - 1, "Completed": 1}, ended
        assert execute(by_hand, prefect_api).name == "Completed"
        client.delete_deployment(deployment)
