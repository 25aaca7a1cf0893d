"""What somebody has changed by hand is found and named; what is well is left in peace."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.model import Target
from tasks.rollout.drift import find_drift, half_made
from tasks.rollout.model import SLOTS, Admission, Health, Instance, Limits, Member, Observed, Routing
from tests.unit.rollout.world import World

PLACE = Target("campus", "production", "lab")
V1, V2, V3 = "v1-3f2c1a9b", "v2-77e2d904", "v3-0b5a1c9e"


@pytest.fixture
def there() -> World:
    """Three instances of V1 serve in blue, and the standby of V2 is kept in green."""
    made = World.serving(V1, 3, Limits(3, 6))
    made.put("green", 0, V2)
    return made


def found(there: World, recorded: str | None = V1) -> list[tuple[str, str]]:
    drift = find_drift(PLACE, there.observe(), recorded, 3)
    assert all(each.where == PLACE and each.next_action for each in drift)
    return [(each.found, each.expected) for each in drift]


@pytest.mark.parametrize("recorded", [V1, None])
def test_nothing_is_found_where_all_is_well(there: World, recorded: str | None) -> None:
    assert found(there, recorded) == []


def test_nothing_is_found_where_nothing_was_ever_released() -> None:
    assert found(World(Limits(3, 6)), None) == []


def test_word_given_to_the_router_by_hand_is_found(there: World) -> None:
    there.persisted = False
    ((what, expected),) = found(there)
    assert "somebody has told it something by hand" in what
    assert "a restart brings back" in expected


def test_member_that_is_no_instance_is_found_by_its_address(there: World) -> None:
    there.members["blue", 7] = Member("blue", 7, "10.0.0.9:80", Admission.IN, up=False, open_requests=0)
    assert found(there) == [
        ("the router has a member at 10.0.0.9:80 that is no instance", "members that the runtime knows")
    ]


@pytest.mark.parametrize("health", [Health.DEAD, Health.FAILING])
def test_serving_instance_that_does_not_work_is_found(there: World, health: Health) -> None:
    there.put("blue", 1, V1, health)
    assert found(there) == [(f"blue 1 (v1-3f2c) is {health}", "ready"), ("2 instances serve", "3")]


def test_sick_standby_is_nobody_s_trouble(there: World) -> None:
    there.put("green", 0, V2, Health.DEAD)
    assert found(there) == []


def test_instance_that_the_router_does_not_reach_is_found_missing(there: World) -> None:
    there.members["blue", 2] = replace(there.members["blue", 2], up=False)
    assert found(there) == [("2 instances serve", "3")]


@pytest.mark.parametrize("admission", [Admission.DRAINING, Admission.OUT])
def test_instance_that_was_drained_by_hand_is_found_missing(there: World, admission: Admission) -> None:
    there.members["blue", 2] = replace(there.members["blue", 2], admission=admission)
    assert found(there) == [("2 instances serve", "3")]


def test_instance_that_was_stopped_by_hand_is_found_missing(there: World) -> None:
    del there.instances["blue", 2], there.members["blue", 2]
    assert found(there) == [("2 instances serve", "3")]


def test_traffic_that_was_moved_by_hand_is_found_with_what_was_recorded(there: World) -> None:
    there.weights = {"blue": 90.0, "green": 10.0}
    assert found(there) == [("v1-3f2c 90 %, v2-77e2 10 %", "v1-3f2c 100 %, as was last recorded")]


def test_other_release_than_the_recorded_one_is_found(there: World) -> None:
    assert found(there, V3) == [("v1-3f2c 100 %", "v3-0b5a 100 %, as was last recorded")]


def test_traffic_that_was_taken_away_altogether_is_found(there: World) -> None:
    there.weights = dict.fromkeys(SLOTS, 0.0)
    assert found(there) == [("nothing serves", "v1-3f2c 100 %, as was last recorded")]


def test_traffic_to_a_slot_without_instances_is_found(there: World) -> None:
    for n in range(3):
        del there.instances["blue", n], there.members["blue", n]
    assert found(there) == [("0 instances serve", "3"), ("nothing 100 %", "v1-3f2c 100 %, as was last recorded")]


def test_stranger_among_the_instances_that_serve_is_found(there: World) -> None:
    there.put("blue", 3, V3)
    assert found(there) == [("v1-3f2c and v3-0b5a 100 %", "v1-3f2c 100 %, as was last recorded")]
    there.put("blue", 0, V3)
    assert found(there)[0][0] == "v1-3f2c and v3-0b5a 100 %", "wherever the stranger stands in the list"


def test_recorded_release_in_both_slots_is_no_drift(there: World) -> None:
    there.put("green", 0, V1)
    there.weights = {"blue": 66.667, "green": 33.333}
    assert found(there) == []


def test_which_release_serves_is_not_judged_where_nothing_is_recorded(there: World) -> None:
    there.weights = {"blue": 90.0, "green": 10.0}
    assert found(there, None) == []


# Half made


def test_candidate_without_traffic_that_never_succeeded_is_half_made(there: World) -> None:
    there.put("green", 1, V3)
    assert [i.index for i in half_made(there.observe(), {V1, V2})] == [1]


def test_standby_of_a_kept_release_is_left(there: World) -> None:
    assert half_made(there.observe(), {V1, V2}) == ()


def test_release_with_traffic_is_left_whether_it_is_kept_or_not(there: World) -> None:
    there.weights = {"blue": 99.9, "green": 0.1}
    assert half_made(there.observe(), set()) == ()


INSTANCES = st.builds(
    Instance,
    slot=st.sampled_from([*SLOTS, "teal"]),
    index=st.integers(0, 3),
    release=st.sampled_from([V1, V2, V3]),
    address=st.just("127.0.0.1:80"),
    health=st.sampled_from(Health),
)
WEIGHTS = st.dictionaries(st.sampled_from(SLOTS), st.sampled_from([0.0, 0.001, 50.0, 100.0]))


@given(st.lists(INSTANCES, max_size=6), WEIGHTS, st.sets(st.sampled_from([V1, V2, V3])))
def test_half_made_never_names_what_has_traffic_or_is_kept(
    instances: list[Instance], weights: dict[str, float], kept: set[str]
) -> None:
    named = half_made(Observed(tuple(instances), Routing(weights, ())), kept)
    for instance in instances:
        has_traffic = weights.get(instance.slot, 0.0) > 0
        assert (instance in named) is not (has_traffic or instance.release in kept)
