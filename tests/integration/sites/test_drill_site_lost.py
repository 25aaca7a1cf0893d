"""The drill in which site A disappears: the watch and the flow `failover` move the users, and the drill nobody."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from blocks.drills.undo_journal import UndoJournal
from deployments.lab.sites.topology import MEMBERS
from tasks.common.drill_notes import ROUND
from tasks.drill.log import Log
from tasks.drill.measure import Kind, Result
from tests.support.another_client import AGREE_WITHIN_S, writing_beside
from tests.support.desk import CLI, Desk
from tests.support.drilling import read_log
from tests.support.processes import wait_until
from tests.support.site_moves import A, B, bring_home, site_place
from tests.support.sites import Sites

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture
def desk(sites: Sites, database_url: str, api: str, tmp_path: Path) -> Iterator[Desk]:
    with site_place(sites, database_url, api) as place, ExitStack() as stack:
        found = Desk(sites, place, stack, tmp_path)
        found.slipway("apply")
        found.start_worker()
        found.start_vantage_points()
        found.start("watch", [*CLI, "watch"])
        wait_until(lambda: f"campus: {A}: up" in found.log_of("watch").read_text(), within_s=60, what="the first look")
        yield found
    bring_home(sites)


def test_site_that_disappears_is_failed_over_by_the_watch_and_the_drill_measures_what_it_costs(
    desk: Desk, tmp_path: Path
) -> None:
    began_s = time.monotonic()
    with writing_beside(desk.sites, tmp_path) as other:
        desk.start("drill", [*CLI, "drill", "start", "site-lost"]).wait(900)
        until_s = time.monotonic()
    facts, folder = _round(desk)
    log = read_log(folder / "round-01.jsonl")
    _say(desk, facts, log)
    _log.info("another client: %.2f s; late %.2f s", other.rto_s(began_s, until_s), other.late_s())
    assert abs(facts["rto_s"] - other.rto_s(began_s, until_s)) < AGREE_WITHIN_S
    assert "drill site-lost: " in desk.log_of("drill").read_text()
    assert facts["problems"] == [], "users wrote again within its objective of a minute"
    assert facts["outcome"] == "fails-over"
    assert facts["together"] == [], "no two nodes took writes of users"
    (_, first), (_, last) = facts["leaders"][0], facts["leaders"][-1]
    assert first in MEMBERS["a"] and last in MEMBERS["b"]
    assert any(each.state.value == "shut" for each in log.samples), "the old leader was seen behind its closed door"
    lost, acknowledged = set(facts["lost"]), {each.id for each in log.of(Kind.WRITE) if each.result is Result.OK}
    assert lost <= acknowledged and len(acknowledged) > 500
    assert desk.sites.door("a").observe().shut and desk.sites.cluster("b").observe().serves
    (moved,) = [note for note in desk.place.notes() if note.kind == "ended"]
    assert moved.facts["closed"] == "reached"
    assert UndoJournal(desk.place.folder / "drills" / "journal").entries() == ((), ())
    assert f"campus: {B}" in desk.slipway("watch", "--once")


def _round(desk: Desk) -> tuple[Mapping[str, Any], Path]:
    drills = desk.place.open().ledger.drills
    (ended,) = drills.ended("site-lost", 5)
    (one,) = [each for each in drills.notes(ended.run_id) if each.kind == ROUND]
    return one.facts, Path(str(ended.facts["evidence"]))


def _say(desk: Desk, facts: Mapping[str, Any], log: Log) -> None:
    """Where the time went, from the cut."""
    cut_s = facts["moments"]["injecting"]

    def of(at: datetime) -> str:
        return f"{(at - log.at(cut_s)).total_seconds():.1f} s"

    for note in reversed(desk.place.notes()):
        _log.info("%s after the cut: %s %s", of(note.at), note.kind, note.facts.get("steps", ""))
    for name in ("promoted", "recovered", "undone", "settled"):
        _log.info("%.1f s after the cut: %s", facts["moments"].get(name, 0) - cut_s, name)
    _log.info("watch: %s", desk.log_of("watch").read_text()[-600:])
    _log.info(
        "site lost: RTO %s s, RPO %s s, %d of %d acknowledged writes lost; %s",
        facts["rto_s"],
        facts["rpo_s"],
        len(facts["lost"] or ()),
        facts["acknowledged"],
        facts["problems"],
    )
