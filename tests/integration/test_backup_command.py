"""`slipway backup` as people call it, with a real Prefect server; the test ends the runs, as a worker would."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Failed

from deployments.backup_command import _show_challenge
from deployments.runs import Ended
from deployments.terminal import Exit
from tasks.common.challenges import TrialOutcome
from tasks.common.errors import Refused, SlipwayError, Unsafe
from tasks.common.schedules import DEPLOYMENT
from tests.integration.test_backups_command import ESTATE, PLANS
from tests.support.challenges import challenge, trial
from tests.support.docs import ROOT
from tests.support.prefect_server import flows_of
from tests.support.processes import end, wait_until

pytestmark = pytest.mark.server


class Command:
    """`slipway backup` with an estate that has one plan, called by somebody whom nobody else is called."""

    def __init__(self, folder: Path, api: str) -> None:
        (folder / "estate.yaml").write_text(ESTATE + PLANS)
        self.estate, self.caller = str(folder / "estate.yaml"), f"ada-{uuid4()}"
        self.env = {**os.environ, "PREFECT_API_URL": api, "SLIPWAY_VAR": str(folder / "var"), "USER": self.caller}
        self.env.pop("SUDO_USER", None)
        with get_client(sync_client=True) as client:
            self.deployment: UUID = client.create_deployment(client.create_flow_from_name("backup"), DEPLOYMENT)

    def start(self, *arguments: str, flow: str = "backup") -> "subprocess.Popen[str]":
        argv = [sys.executable, "-m", "deployments.cli", flow, *arguments, "--estate", self.estate]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=ROOT, env=self.env, text=True, stdout=pipe, stderr=subprocess.STDOUT)

    def run(self) -> FlowRun | None:
        """Return the run that was started; None as long as there is none."""
        wanted = DeploymentFilter(id=DeploymentFilterId(any_=[self.deployment]))
        with get_client(sync_client=True) as client:
            runs = client.read_flow_runs(deployment_filter=wanted)
        return next((run for run in runs if run.parameters["request"]["requested_by"] == self.caller), None)


@pytest.fixture
def command(tmp_path: Path, prefect_api: str) -> Iterator[Command]:
    with flows_of(prefect_api):
        yield Command(tmp_path, prefect_api)


def test_run_is_started_with_what_was_asked_for_and_not_waited_for(command: Command) -> None:
    said, _ = command.start("campus-db", "--kind", "incremental", "--no-wait").communicate(timeout=60)
    run = command.run()
    assert run is not None, said
    assert said == f"started run {run.id}\n"
    asked = {"plan": "campus-db", "kind": "incremental", "accept_loss": False}
    assert run.parameters["request"] == {**asked, "estate": command.estate, "requested_by": command.caller}


def failed(error: SlipwayError) -> State:
    """Return the state of a run that this error has ended, with Prefect's own words."""
    return Failed(message=f"Flow run encountered an exception: {type(error).__name__}: {error}")


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        (Completed(), Exit.DONE, "backup of campus-db: Completed"),
        (failed(Refused("wrong key", on="r", next_action="mend it")), Exit.REFUSED, "\nRefused: wrong key"),
        (failed(Unsafe("damaged", on="r", state="unsound", next_action="look")), Exit.UNSAFE, "\nUNSAFE: damaged"),
        (Failed(message="it was killed"), Exit.FAILED, "it was killed"),
    ],
    ids=["completed", "refused", "unsafe", "other"],
)
def test_end_of_the_run_is_shown_and_told_by_the_exit_code(
    command: Command, state: State, code: Exit, said: str
) -> None:
    process = command.start("campus-db")
    try:
        run = wait_until(command.run, what="the run", every_s=0.2)
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, state, force=True)
        shown, _ = process.communicate(timeout=60)
    finally:
        end(process)
    assert process.returncode == code, shown
    assert said in shown


def test_plan_that_the_estate_does_not_have_is_refused_before_a_run_is_started(command: Command) -> None:
    process = command.start("campus-bd")
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == Exit.REFUSED
    assert "has no backup plan 'campus-bd'" in shown
    assert command.run() is None


def test_verification_is_started_with_what_was_asked_for(command: Command) -> None:
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow_from_name("verify-backup"), DEPLOYMENT)
    said, _ = command.start("campus-db", "--which", "random", "--no-wait", flow="verify-backup").communicate(timeout=60)
    run_id = said.removeprefix("started run ").strip()
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(run_id))
    assert run.deployment_id == deployment
    assert run.parameters["request"] == {"plan": "campus-db", "which": "random", "estate": command.estate}


def test_word_take_may_be_left_out_or_not(command: Command) -> None:
    said, _ = command.start("take", "campus-db", "--no-wait").communicate(timeout=60)
    assert command.run() is not None, said


def test_plan_whose_engine_nobody_can_challenge_is_refused_before_a_run_is_started(command: Command) -> None:
    process = command.start("challenge", "campus-db")
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == Exit.REFUSED, shown
    assert "backups of memory cannot be challenged" in shown


def test_challenge_is_shown_as_a_table_with_what_was_not_found_first(capsys: pytest.CaptureFixture[str]) -> None:
    missed = trial(TrialOutcome.NOT_FOUND, "broken foreign key", expected="foreign keys", said="[bold]all[/bold] held")
    found = challenge(trial(), missed)
    _show_challenge("campus-db", Ended("run-1", "n", "Failed", False, "UNSAFE: blind"), found, False)
    shown = " ".join(capsys.readouterr().out.split())
    assert "challenge of campus-db: Failed NOT FOUND: broken foreign key the undamaged copy: sound" in shown
    assert "nobody" in shown and "UNSAFE: blind" in shown
    _show_challenge("campus-db", Ended("run-1", "n", "Failed", False, "UNSAFE: blind"), found, True)
    told = json.loads(capsys.readouterr().out)
    assert told["challenge"]["verdict"] == "NOT FOUND" and told["challenge"]["trials"][1]["found_by"] == ""
