"""Gates over real sources: open with good figures, and closed, all in one error, by whatever is not one."""

from collections.abc import Mapping
from typing import Any

import pytest
from prefect import flow
from prefect.artifacts import Artifact

from blocks.estate import open_estate
from flows.gates import open_gating
from flows.rollout import open_rollout
from tasks.common.errors import Refused
from tasks.gate.steps import require_gates
from tasks.release.model import Evidence
from tasks.release.open_steps import reopen
from tests.support.http_server import answering, plain
from tests.support.processes import free_port
from tests.support.small import Ended, Small
from tests.support.small_checks import production

pytestmark = pytest.mark.server

ALWAYS = ("all tests pass", "scans are clean", "rehearsed in staging")
BACKUP = "select count(*) from slipway.evidence where kind = 'test' and record_id like '%%' and %(environment)s <> ''"


@flow(name="gates only")
def gates_only(estate: str, run_id: str) -> None:
    """Read the gates of a run that has ended, as its release would have before production."""
    opened = open_estate(estate)
    job = reopen(opened, opened.ledger.record(run_id))
    require_gates(open_gating(job, open_rollout(job, job.environment, job.service.promotion)))


def ask(small: Small, ended: Ended) -> BaseException | None:
    """Return what the gates raise; None where all are open."""
    state = gates_only(str(small.file), ended.run_id, return_state=True)
    found = state.result(raise_on_failure=False)
    return found if isinstance(found, BaseException) else None


def recorded(small: Small, ended: Ended) -> dict[str, Evidence]:
    return {item.name: item for item in small.evidence(ended, "gate")}


def figure(promql: str, **more: Any) -> Mapping[str, Any]:
    return {"promql": promql, "unit": "count", "at_most": 0.05, **more}


def test_good_figures_of_every_source_open_all_gates_and_are_recorded(small: Small, serving: str) -> None:
    with answering(lambda _: plain(200, '{"drill": {"passed": 3}}')) as url:
        filled = 'vector(0.04) and on () label_replace(vector(1), "r", "$release of $service in $slot", "", "")'
        own = [
            {"name": "cost", **figure(filled)},
            {"name": "drill", "http": {"url": url, "figure": "/drill/passed"}, "unit": "count", "at_least": 1},
        ]
        platform = [
            {"name": "backup", "sql": BACKUP, "unit": "count", "at_least": 1},
            {"name": "page", "http": {"url": url}},
        ]
        with production(small, gates=platform):
            ended = small.release(small.commit(gates=own))
            assert ended.error is None
            assert ask(small, ended) is None
    found = recorded(small, ended)
    assert found.keys() == {*ALWAYS, "cost", "drill", "backup", "page"}
    assert {name for name, item in found.items() if item.facts["open"] is not True} == set()
    facts = found["drill"].facts
    assert (facts["figure"], facts["bound"], facts["phase"]) == (3.0, "at least 1", "production")
    assert str(facts["source"]).endswith("at /drill/passed")
    artifact = Artifact.get("gates")
    assert artifact is not None
    assert "| backup | open |" in str(artifact.data)  # type: ignore[union-attr]


CLOSED = {
    "all tests pass": "test unit: failed",
    "scans are clean": "scan clean: nothing is recorded",
    "rehearsed in staging": "no smoke tests through the router are recorded",
    "no series": "there is no figure",
    "not a number": "there is no figure",
    "two series": "returns 2 series",
    "bad expression": "refuses the expression",
    "beyond": "0.06 is not at most 0.05",
    "no table": "does not exist",
    "no row": "there is no figure",
    "deletes": "must not contain data-modifying statements",
    "too many rows": "several rows",
    "nobody there": "no answer",
    "error page": "HTTP 500, not 200",
    "no such key": "nothing at /n",
    "text": "not a number",
}


def test_every_closed_gate_is_told_in_one_error_with_figure_bound_source_and_remedy(small: Small, serving: str) -> None:
    two = 'vector(0) or label_replace(vector(0), "n", "1", "", "")'
    count: Mapping[str, Any] = {"unit": "count", "at_most": 0.05}
    with (
        answering(lambda _: plain(500, '{"n": 0}')) as broken,
        answering(lambda _: plain(200, '{"m": 0, "t": "0"}')) as url,
    ):
        own = [
            {"name": "no series", **figure("nobody_exports_this")},
            {"name": "not a number", **figure("vector(0) / 0")},
            {"name": "two series", **figure(two)},
            {"name": "bad expression", **figure("sum(")},
            {"name": "beyond", **figure("vector(0.06)")},
            {"name": "no table", "sql": "select count(*) from backups", **count},
            {"name": "no row", "sql": "select 0 where false", **count},
            {"name": "deletes", "sql": "with x as (delete from slipway.evidence returning 1) select 0", **count},
            {"name": "too many rows", "sql": "select generate_series(0, 3)", **count},
            {"name": "nobody there", "http": {"url": f"http://127.0.0.1:{free_port()}", "figure": "/n"}, **count},
            {"name": "error page", "http": {"url": broken, "figure": "/n"}, **count},
            {"name": "no such key", "http": {"url": url, "figure": "/n"}, **count},
            {"name": "text", "http": {"url": url, "figure": "/t"}, **count},
        ]
        # Ends at its tests, so that nothing was scanned or rehearsed.
        ended = small.release(small.commit(gates=own, test={"steps": [{"name": "unit", "command": ["false"]}]}))
        before = len(small.ledger.evidence(ended.run_id))
        error = ask(small, ended)
    assert isinstance(error, Refused)
    assert error.what == f"{len(CLOSED)} of {len(CLOSED)} gates are closed"
    assert error.facts.keys() == CLOSED.keys()
    for name, why in CLOSED.items():
        text = str(error.facts[name])
        assert why in text.splitlines()[0]
        assert all(part in text for part in ("figure: ", "bound: ", "source: ", "do: ")), text
    found = recorded(small, ended)
    assert {name for name, item in found.items() if item.facts["open"] is False} == CLOSED.keys()
    assert len(small.ledger.evidence(ended.run_id)) == before + len(CLOSED), "nothing was deleted"
    assert small.served() == {serving}
