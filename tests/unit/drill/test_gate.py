"""The gate: each thing that stands in the way is told, and all of them together."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.drills import Mode
from tasks.common.errors import Refused
from tasks.common.schedules import Window
from tasks.drill.gate import Situation, problems, require
from tasks.drill.journal import Entry, Now
from tasks.drill.model import NodeSeen, NodeState
from tests.unit.drill.examples import SYSTEM_ID, cluster, drills, experiment

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WINDOWS = {"office": Window.model_validate({"days": ["mon"], "from": "09:00", "until": "17:00"})}
NODES = (
    NodeSeen("a1", NodeState.WRITABLE, SYSTEM_ID),
    NodeSeen("a2", NodeState.READ_ONLY, SYSTEM_ID),
    NodeSeen("a3", NodeState.READ_ONLY, SYSTEM_ID),
)
WELL = Situation(NOON, NODES, NOON - timedelta(hours=3))
ENTRY = Entry("x", "disk-full", "run-0", 0, "fill", {}, {}, "/", Now(NOON, 1.0, "boot"), 60.0, node="a1")


def found(seen: Situation = WELL, *, live: bool = False, mode: Mode = Mode.COPY, hours: bool = True) -> tuple[str, ...]:
    about = cluster(live=live, backup="campus-db")
    wanted = experiment().model_copy(update={"mode": mode})
    return problems(wanted, about, drills(business_hours=["office"] if hours else []), WINDOWS, seen)


def test_nothing_stands_in_the_way_where_all_is_well() -> None:
    assert found() == ()
    assert found(live=True, mode=Mode.LIVE) == ()
    require((), "campus-copy")


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (
            replace(WELL, nodes=(NODES[0], replace(NODES[1], state=NodeState.SILENT, why="refused"), NODES[2])),
            "a2 does not answer: refused",
        ),
        (replace(WELL, nodes=NODES[:2]), "node a3 was not looked at"),
        (
            replace(WELL, nodes=(*NODES[:2], replace(NODES[2], system_id="7999999999999999999"))),
            "a3 is of the cluster 7999",
        ),
        (
            replace(WELL, nodes=(replace(NODES[0], state=NodeState.READ_ONLY), *NODES[1:])),
            "no node takes writes, not one",
        ),
        (
            replace(WELL, nodes=(*NODES[:2], replace(NODES[2], state=NodeState.WRITABLE))),
            "a1 and a3 take writes, not one",
        ),
        (replace(WELL, backup_ended_at=None), "no backup of campus-db was ever verified"),
        (replace(WELL, backup_ended_at=NOON - timedelta(hours=25)), "campus-db is 25 h old, more than 24 h"),
        (replace(WELL, at_work={"campus/production": "run-7"}), "run-7 is at work on campus/production"),
        (replace(WELL, left=[ENTRY]), "an earlier drill is not undone: fill on a1 of disk-full"),
        (replace(WELL, damaged=["journal/x.json"]), "journal cannot be read: journal/x.json"),
        (replace(WELL, unknown={"backup": "the ledger is away"}), "backup could not be looked at: the ledger is away"),
    ],
)
def test_each_thing_that_stands_in_the_way_is_told_alone(seen: Situation, said: str) -> None:
    (only,) = found(seen)
    assert said in only


def test_live_drill_needs_a_live_cluster_and_business_hours() -> None:
    assert "no live cluster" in found(mode=Mode.LIVE)[0]
    night = replace(WELL, now=NOON.replace(hour=20), backup_ended_at=NOON)
    assert "outside of business hours: office" in found(night, live=True, mode=Mode.LIVE)[0]
    assert "names none" in found(live=True, mode=Mode.LIVE, hours=False)[0]


def test_copy_on_which_users_are_is_none() -> None:
    assert "users are on" in found(live=True)[0]


def test_all_that_stands_in_the_way_is_told_together() -> None:
    seen = Situation(NOON, (), None, {"campus/production": "run-7"}, [ENTRY], ["x"])
    wrong = found(seen)
    assert len(wrong) == 8
    with pytest.raises(Refused) as caught:
        require(wrong, "campus-copy")
    assert all(each in str(caught.value) for each in wrong)
