"""The page about schedules says what the code does."""

from typing import Any

from deployments.flow_specs import _FILLED, require_parameters
from tasks.common.schedule_steps import LEFT_OUT
from tasks.common.schedules import Schedule
from tasks.common.webhooks import FIELDS
from tasks.server.wanted import ALARM, AUTOMATION_PREFIX, MADE, SCHEDULED
from tests.support.docs import ROOT, files_of, firsts, load

PAGE = ROOT / "docs/how-to/start-by-the-clock.md"


def documented(name: str) -> Any:
    return load(files_of(PAGE)[name])


def test_documented_schedules_ask_for_what_their_flows_take() -> None:
    estate = documented("schedules.yaml")
    assert {"watch-5m", "weekly-rehearsal"} <= estate.schedules.keys()
    require_parameters(estate)


def test_documented_rule_for_pull_requests_asks_for_what_the_check_takes() -> None:
    estate: Any = load(files_of(ROOT / "docs/how-to/check-pull-requests.md")["pull-requests.yaml"])
    assert estate.webhooks["github"].rules[0].start == "check"
    require_parameters(estate)


def test_every_placeholder_has_a_value_that_forms_are_tried_with() -> None:
    assert _FILLED.keys() == set(FIELDS)


def test_page_names_every_key_of_a_schedule() -> None:
    keys = {field.alias or name for name, field in Schedule.model_fields.items()}
    shown = {key.strip("`") for cell in firsts(PAGE, "Say what starts when") for key in cell.split(", or ")}
    assert shown == keys


def test_page_names_every_mark_that_apply_goes_by() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{mark}`" in text for mark in (ALARM, MADE, SCHEDULED, AUTOMATION_PREFIX, LEFT_OUT))


def test_documented_receiver_is_the_one_that_is_meant_without_it() -> None:
    whole = load(files_of(PAGE)["schedules.yaml"])
    assert documented("receiver.yaml").receiver == whole.receiver  # type: ignore[attr-defined]
