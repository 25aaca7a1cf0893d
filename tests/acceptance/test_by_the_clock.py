"""The flows that are meant for the clock, where something serves: what they find, and what they leave alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from deployments.flow_specs import flow_specs
from tests.support.lab import LabPlace, answers, first_release
from tests.support.processes import wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]
_ENDED = {"Completed", "Failed", "Crashed", "Cancelled", "LeftOut"}


@pytest.fixture(autouse=True)
def served(lab: LabPlace) -> str:
    """Return the release that serves; which one does not matter."""
    if not lab.serving():
        assert first_release(lab, "v1").code == 0
    (release,) = lab.serving()
    return release


def ended(lab: LabPlace, flow: str, **request: str) -> tuple[str, str]:
    """Start a flow's deployment as the Prefect UI does; return the name of its last state, and its artifact."""
    deployment = lab.prefect("GET", f"/deployments/name/{flow}/slipway")["id"]
    asked: dict[str, Any] = {"parameters": {"request": request}} if request else {}
    run = lab.prefect("POST", f"/deployments/{deployment}/create_flow_run", asked)["id"]
    wait_until(lambda: lab.prefect_state(run) in _ENDED, within_s=120, what=f"the end of {flow}")
    wanted = {"artifacts": {"flow_run_id": {"any_": [run]}}, "sort": "CREATED_DESC"}
    # A task that fails leaves one of Prefect's own as well.
    shown = [item["data"] for item in lab.prefect("POST", "/artifacts/filter", wanted) if item["type"] == "markdown"]
    return lab.prefect_state(run), "".join(shown[:1])


@contextmanager
def without(lab: LabPlace, program: str, page: str) -> Iterator[None]:
    """One of the lab's servers is stopped for the length of a `with`; a page tells when it is back."""
    supervisor = lab.lab.supervisor
    supervisor.ask_to_stop(program)
    wait_until(lambda: supervisor.processes()[program].pid == 0, what=f"the end of {program}")
    try:
        yield
    finally:
        supervisor.add(program)
        wait_until(lambda: answers(page), what=f"another {program}")


def test_what_serves_is_looked_at_as_its_users_do(lab: LabPlace, served: str) -> None:
    state, text = ended(lab, "monitor", service="campus")
    assert state == "Completed", text
    assert f"Release {served[:7]} at {lab.url}: all " in text


def test_what_does_not_answer_fails_the_look(lab: LabPlace) -> None:
    with without(lab, "haproxy", f"{lab.url}/health/live"):
        state, text = ended(lab, "monitor", service="campus", checks="smoke")
    assert state == "Failed"
    assert "requests failed**" in text


def test_place_where_nothing_was_released_is_no_success(lab: LabPlace) -> None:
    assert ended(lab, "monitor", service="unknown")[0] == "Failed"


def test_folders_of_ended_runs_are_removed_and_others_are_not(lab: LabPlace) -> None:
    runs = lab.lab.home / "work" / "runs"
    left, unknown = runs / lab.records()[0].id, runs / "kept-by-somebody"
    for folder in (left, unknown):
        (folder / "tree").mkdir(parents=True, exist_ok=True)
    state, text = ended(lab, "maintain")
    assert state == "Completed", text
    assert (left.exists(), unknown.exists()) == (False, True)
    assert "campus in production: metrics answer" in text


def test_driver_that_does_not_answer_is_found_before_anybody_needs_it(lab: LabPlace) -> None:
    with without(lab, "prometheus", f"http://127.0.0.1:{lab.lab.ports['prometheus']}/-/ready"):
        state, text = ended(lab, "maintain")
    assert state == "Failed"
    assert "does not answer" in text


def test_month_is_counted_from_the_ledger(lab: LabPlace) -> None:
    state, text = ended(lab, "aggregate", month=f"{datetime.now(UTC):%Y-%m}")
    assert state == "Completed", text
    assert "| campus | production | " in text
    assert ended(lab, "aggregate", month="October")[0] == "Failed"


def test_lab_has_every_flow_and_the_schedules_of_its_estate(lab: LabPlace) -> None:
    for spec in flow_specs():
        lab.prefect("GET", f"/deployments/name/{spec.name}/slipway")
    nightly = lab.prefect("GET", "/deployments/name/maintain/nightly-maintenance")
    (schedule,) = nightly["schedules"]
    assert (schedule["schedule"]["cron"], schedule["active"]) == ("0 2 * * *", True)
