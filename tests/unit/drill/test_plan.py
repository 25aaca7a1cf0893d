"""From an experiment to the faults: the right nodes, nothing left to fill in, and never more than the blast radius."""

import pytest

from tasks.common.errors import Refused
from tasks.drill.model import NodeSeen, NodeState
from tasks.drill.plan import injections, printed, targets
from tests.unit.drill.examples import NAMES, SYSTEM_ID, cluster, experiment

NODES = (
    NodeSeen("a1", NodeState.READ_ONLY, SYSTEM_ID),
    NodeSeen("a2", NodeState.WRITABLE, SYSTEM_ID),
    NodeSeen("a3", NodeState.READ_ONLY, SYSTEM_ID),
)


def test_leader_is_who_takes_writes_now() -> None:
    assert targets(experiment(), cluster(), NODES) == ("a2",)
    assert targets(experiment("node-lost", ("on: leader", "on: standby")), cluster(), NODES) == ("a1",)
    assert targets(experiment("node-lost", ("on: leader", "on: a3")), cluster(), NODES) == ("a3",)


def test_more_than_the_blast_radius_is_refused() -> None:
    with pytest.raises(Refused, match="3 would be hit, and the blast radius allows 1"):
        targets(experiment("node-lost", ("on: leader", "on: every")), cluster(), NODES)
    with pytest.raises(Refused, match="3 would be hit, and the blast radius allows 2"):
        targets(experiment("all-instances-killed", ("nodes: 3", "nodes: 2")), cluster(), NODES)


def test_node_that_is_not_there_is_refused() -> None:
    with pytest.raises(Refused, match="there is no 'leader' to hit"):
        targets(experiment(), cluster(), [NODES[0]])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_to_fill_in(name: str) -> None:
    wanted = experiment(name)
    hit = targets(wanted, cluster(), NODES)
    found = injections(wanted, cluster(), hit)
    assert len(found) == len(wanted.fault.actions) * len(hit)
    assert "{" not in str([list(each.settings.values()) for each in found])
    assert any(str(found[0]) in each for each in printed(wanted, cluster(), found, 1))


def test_fact_of_the_others_is_one_item_each() -> None:
    wanted = experiment("leader-deaf")
    (found,) = injections(wanted, cluster(), ("a2",))
    assert found.settings["peers"] == ["10.0.1.1", "10.0.0.a1", "10.0.0.a3"]


def test_every_fact_that_is_missing_is_told() -> None:
    with pytest.raises(Refused) as caught:
        injections(experiment("leader-deaf"), cluster(facts={}), ("a2",))
    assert "etcd" in caught.value.next_action
    with pytest.raises(Refused) as caught:
        injections(experiment("all-instances-killed"), cluster(facts={"port_2": "1"}), ("",))
    assert "port_1, port_3" in caught.value.next_action


def test_plan_says_who_is_asked_what_is_done_and_how_often() -> None:
    wanted = experiment()
    found = printed(wanted, cluster(), injections(wanted, cluster(), ("a2",)), 20)
    assert found[-1] == "do all of it 20 times"
    assert [each for each in found if each.startswith("undo")] == ["undo: kill on a2", "undo: kill on a2"]
