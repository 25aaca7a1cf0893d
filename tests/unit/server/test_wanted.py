"""What an estate wants on a Prefect server."""

import json

import pytest

from deployments.flow_specs import flow_specs
from tasks.common.errors import Refused
from tasks.common.events import Happened
from tasks.server.model import Kind, Resource
from tasks.server.wanted import ALARM, AUTOMATION_PREFIX, MADE, SCHEDULED, wanted
from tests.support.server import FLOWS, NIGHTLY, RECONCILE, estate


def by_name(**keys: object) -> dict[str, Resource]:
    return {each.name: each for each in wanted(FLOWS, estate(**keys))}


def test_every_flow_has_a_deployment_and_its_triggers_belong_to_it() -> None:
    found = by_name()
    assert found["release/slipway"].spec["limit"] is None
    assert found["reconcile/slipway"].spec["schedules"] == {"every-minute": {"interval": 60}}
    trigger = found["slipway, a run has crashed"]
    assert trigger.spec["actions"] == [{"run": "reconcile/slipway"}]


@pytest.mark.parametrize(("overlap", "strategy"), [("skip", "CANCEL_NEW"), ("queue", "ENQUEUE")])
def test_schedule_is_a_deployment_of_its_own_with_one_place(overlap: str, strategy: str) -> None:
    asked = {**NIGHTLY, "overlap": overlap, "parameters": {"service": "campus"}}
    spec = by_name(schedules={"nightly": asked})["release/nightly"].spec
    assert spec["limit"] == {"limit": 1, "collision_strategy": strategy, "grace_period_seconds": 300}
    assert spec["schedules"] == {"nightly": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"}}
    assert spec["parameters"] == {"request": {"service": "campus"}}
    assert spec["tags"] == ["slipway", SCHEDULED]


def test_schedule_that_is_switched_off_starts_nothing_and_rings_no_alarm() -> None:
    found = by_name(schedules={"nightly": {**NIGHTLY, "enabled": False}})
    assert found["release/nightly"].spec["schedules"] == {}
    assert not [name for name in found if "has not succeeded" in name]


def test_alarm_goes_out_when_no_run_of_a_schedule_has_succeeded_in_time() -> None:
    alarm = by_name(schedules={"nightly": NIGHTLY})["slipway, nightly has not succeeded for 26 h"]
    trigger = alarm.spec["trigger"]
    assert isinstance(trigger, dict)
    assert (trigger["posture"], trigger["within"]) == ("Proactive", 26 * 3600)
    assert trigger["expect"] == ["prefect.flow-run.Completed"]
    assert trigger["match_related"] == {"prefect.resource.role": "deployment", "prefect.resource.name": "nightly"}


def test_every_automation_is_known_by_its_name() -> None:
    found = wanted(flow_specs(), estate(schedules={"nightly": NIGHTLY}))
    names = [each.name for each in found if each.kind is Kind.AUTOMATION]
    assert len(names) > 3
    assert all(name.startswith(AUTOMATION_PREFIX) for name in names)


def test_alarms_say_nothing_but_names_and_ids() -> None:
    alarms = [each for each in by_name(schedules={"nightly": NIGHTLY}).values() if each.spec.get("tags") == [MADE]]
    payloads = [json.loads(each.spec["actions"][0]["payload"]) for each in alarms]  # type: ignore[index]
    assert payloads == [
        {"alarm": "crashed", "run": "{{ event.resource.id }}"},
        {"alarm": "failed", "run": "{{ event.resource.id }}"},
        {"alarm": "overdue", "schedule": "nightly"},
    ]


def test_block_tells_the_receiver_of_the_estate() -> None:
    block = by_name(receiver="http://127.0.0.1:9/")[ALARM]
    assert block.kind is Kind.BLOCK
    assert block.spec["url"] == "http://127.0.0.1:9/alarms"


def test_flows_that_there_are_not_are_all_named() -> None:
    rule = {"event": "push", "repository": "a/b", "refs": ["main"], "start": "relese", "parameters": {"service": "x"}}
    source = {"forge": "github", "secrets": ["env:A"], "rules": [rule]}
    asked = estate(schedules={"nightly": {**NIGHTLY, "start": "bakup"}}, webhooks={"github": source})
    with pytest.raises(Refused) as refusal:
        wanted((*FLOWS, RECONCILE), asked)
    assert "schedules.nightly.start: 'bakup'" in refusal.value.on
    assert "webhooks.github.rules.0.start: 'relese' (did you mean 'release'?)" in refusal.value.on


def test_plan_has_alarms_for_a_missing_backup_and_verification_without_any_schedule() -> None:
    plan = {"engine": {"driver": "memory"}, "objectives": {"rto": "15m", "rpo": "5m"}, "backup_within": "2h"}
    how = {"database": {"driver": "memory"}, "scratch": {"driver": "memory"}, "name": "campus"}
    found = by_name(backups={"campus-db": {**plan, "verification": how}, "uploads": plan})
    alarms = {name: each for name, each in found.items() if name.startswith("slipway, no ")}
    assert set(alarms) == {
        "slipway, no backup of campus-db for 2 h",
        "slipway, no verification of campus-db for 50 h",
        "slipway, no backup of uploads for 2 h",
    }
    spec = alarms["slipway, no backup of campus-db for 2 h"].spec
    trigger, (action,) = spec["trigger"], spec["actions"]  # type: ignore[misc]
    assert isinstance(trigger, dict)
    assert (trigger["posture"], trigger["within"]) == ("Proactive", 2 * 3600)
    assert trigger["expect"] == ["slipway.backup.taken"]
    assert trigger["match"] == {
        "prefect.resource.id": Happened("slipway.backup.taken", "small", plan="campus-db").resource[
            "prefect.resource.id"
        ]
    }
    assert action["call"] == ALARM
    assert json.loads(action["payload"]) == {"alarm": "no-backup", "plan": "campus-db"}
    proof = alarms["slipway, no verification of campus-db for 50 h"].spec["trigger"]
    assert isinstance(proof, dict) and proof["expect"] == ["slipway.backup.verified"]
