"""`slipway apply` on a real Prefect server: what it makes, what it leaves alone, and that it is not done twice."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.schemas.automations import AutomationCore

from blocks.server import PrefectServer
from deployments.applying import carry_out, survey
from deployments.flow_specs import flow_specs, require_parameters
from tasks.common.errors import Refused, Retryable
from tasks.common.estate import Estate
from tests.support.prefect_server import flows_of, prefect_server
from tests.support.processes import free_port
from tests.support.server import estate

pytestmark = [pytest.mark.server, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
WATCH = {"start": "monitor", "every": "5m", "parameters": {"service": "campus"}, "success_within": "1h"}
WANTED = estate(schedules={"watch-5m": WATCH})
DEPLOY = [str(Path(sys.executable).parent / "prefect"), "--no-prompt", "deploy", "--all"]


@flow(name="somebody-elses")
def somebody_elses() -> None:
    """Not ours."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prefect_server(tmp_path_factory.mktemp("prefect")) as address, flows_of(address):
        yield address


def apply(wanted: Estate = WANTED) -> list[str]:
    server, said = PrefectServer(), list[str]()
    carry_out(wanted, server, survey(wanted, server), said.append)
    return said


def differences(wanted: Estate = WANTED) -> list[str]:
    return [line for change in survey(wanted, PrefectServer()).changes for line in (str(change), *change.differences)]


def test_everything_is_there_after_it_and_nothing_is_left_for_a_second_time(api: str) -> None:
    first = apply()
    assert "made deployment release/slipway" in first
    assert "made deployment monitor/watch-5m" in first
    assert "made automation slipway, watch-5m has not succeeded for 1 h" in first
    assert apply() == []


def test_prefect_deploy_and_apply_leave_no_difference_to_each_other(api: str) -> None:
    apply()
    for _ in range(2):
        subprocess.run(DEPLOY, cwd=ROOT, env={**os.environ, "PREFECT_API_URL": api}, check=True, capture_output=True)
        assert differences() == []


def test_what_others_have_made_is_left_alone(api: str) -> None:
    apply()
    with get_client(sync_client=True) as client:
        theirs = client.create_deployment(client.create_flow(somebody_elses), "slipway", tags=["theirs"])
        automation = client.create_automation(AutomationCore.model_validate(OTHERS))
        ours = client.read_deployment_by_name("monitor/watch-5m").id
        by_hand = DeploymentScheduleCreate(schedule=CronSchedule(cron="30 4 * * *", timezone="UTC"))
        client.create_deployment_schedules(ours, [by_hand])
        less = estate(schedules={"watch-5m": {**WATCH, "every": "10m"}})
        assert "changed deployment monitor/watch-5m" in apply(less)
        assert client.read_deployment(theirs).name == "slipway"
        assert client.read_automation(automation) is not None
        kept = client.read_deployment_schedules(ours)
        assert len(kept) == 2, "the schedule that somebody has made by hand is gone"
        apply(estate())
        assert client.read_deployment(theirs).name == "slipway"
        assert client.read_automation(automation) is not None
        client.delete_deployment(theirs)
        client.delete_automation(automation)


def test_what_is_not_wanted_any_more_is_removed(api: str) -> None:
    apply()
    removed = apply(estate())
    assert removed == [
        "removed automation slipway, watch-5m has not succeeded for 1 h",
        "removed automation slipway, tell that a scheduled run has failed",
        "removed deployment monitor/watch-5m",
    ]
    assert differences(estate()) == []


def test_drift_is_named_and_mended_and_what_was_stopped_stays_stopped(api: str) -> None:
    apply()
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("monitor/watch-5m")
        (schedule,) = client.read_deployment_schedules(deployment.id)
        client.update_deployment_schedule(
            deployment.id, schedule.id, active=False, schedule=CronSchedule(cron="0 5 * * *", timezone="UTC")
        )
        (crashed,) = client.read_automations_by_name("slipway, tell that a run has died")
        client.delete_automation(crashed.id)
        found = differences()
        assert found[0] == "make automation slipway, tell that a run has died" or "monitor/watch-5m" in found[0]
        assert any(line.startswith("schedules.watch-5m") for line in found), found
        assert [str(each) for each in survey(WANTED, PrefectServer()).stopped] == ["deployment monitor/watch-5m"]
        apply()
        assert differences() == []
        (schedule,) = client.read_deployment_schedules(deployment.id)
        assert schedule.active is False, "what a person has stopped works again"


def test_parameters_that_a_flow_does_not_take_are_all_refused_before_anything_is_changed(api: str) -> None:
    wrong = {"start": "monitor", "cron": "0 2 * * *", "parameters": {"servise": "campus", "checks": "deep"}}
    rule: dict[str, Any] = {"event": "push", "repository": "a/b", "refs": ["main"], "start": "release"}
    source = {"forge": "github", "secrets": ["env:A"], "rules": [{**rule, "parameters": {"service": "campus"}}]}
    with pytest.raises(Refused) as refusal:
        require_parameters(estate(schedules={"wrong": wrong}, webhooks={"github": source}))
    for place in ("schedules.wrong.parameters.servise", "schedules.wrong.parameters.checks"):
        assert place in refusal.value.on
    assert "webhooks.github.rules.0.parameters.commit" in refusal.value.on


def test_server_that_does_not_answer_is_said_so() -> None:
    with flows_of(f"http://127.0.0.1:{free_port()}/api"), pytest.raises(Retryable, match="does not answer"):
        survey(WANTED, PrefectServer())


def test_command_tells_a_script_whether_there_is_a_difference(api: str, tmp_path: Path) -> None:
    file = tmp_path / "estate.yaml"
    file.write_text(yaml.safe_dump(WANTED.model_dump(mode="json", by_alias=True, exclude_defaults=True)))
    argv = [sys.executable, "-m", "deployments.cli", "apply", "--estate", str(file)]
    env = {**os.environ, "PREFECT_API_URL": api, "SLIPWAY_VAR": str(tmp_path)}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*argv, *options], cwd=ROOT, env=env, text=True, capture_output=True)

    apply(estate())
    planned = run("--plan")
    assert (planned.returncode, differences()[:1]) == (6, ["make deployment monitor/watch-5m"]), planned.stderr
    assert "make deployment monitor/watch-5m" in planned.stdout
    done = run()
    assert done.returncode == 0, done.stderr
    assert "made deployment monitor/watch-5m" in done.stdout
    assert run("--plan").returncode == 0


def test_every_flow_of_the_project_is_deployed() -> None:
    flows = {path.stem.replace("_", "-") for path in (ROOT / "flows").glob("*.py") if "@flow" in path.read_text()}
    assert {each.name for each in flow_specs()} == flows


OTHERS = {
    "name": "somebody else's",
    "trigger": {"type": "event", "expect": ["a"], "posture": "Reactive", "threshold": 1, "within": 0},
    "actions": [{"type": "do-nothing"}],
    "tags": ["theirs"],
}
