import pytest

from tasks.common.errors import Refused
from tasks.rollout.model import (
    Admit,
    AwaitReady,
    Drain,
    Health,
    Limits,
    Observed,
    Roles,
    Routing,
    Shift,
    Stage,
    Start,
    Step,
    Stop,
)
from tasks.rollout.plan import converge, describe, next_step, promoted, roles
from tasks.rollout.strategies import limits, proving_stage, stable_stage, stages
from tests.unit.rollout.promotions import EVERY, ROLES, the_way
from tests.unit.rollout.world import World, assert_reached, run

NOTHING = Observed((), Routing({"blue": 0.0, "green": 0.0}, ()))


def texts(world: World, stage: Stage, found: Roles = ROLES) -> list[str]:
    return [describe(step) for step in converge(world.observe(), stage, found, world.limits)]


def at(kind: str, size: int, stage: int) -> tuple[World, tuple[Stage, ...]]:
    """A world that has come as far as a stage of a rollout; 0 is the proof without traffic."""
    way, bounds = the_way(kind, size)
    world = World.serving("v1", size, bounds)
    for step in way[: stage + 1]:
        run(world, step, ROLES)
    return world, way


def test_a_canary_is_grown_proven_admitted_and_then_gets_its_traffic() -> None:
    way, bounds = the_way("canary", 3)
    assert texts(World.serving("v1", 3, bounds), way[1]) == [
        "start green 0 (v2)",
        "await green 0",
        "admit green 0",
        "shift green to 0.1 %",
    ]


def test_rolling_without_surge_makes_room_first_and_never_goes_below_the_floor() -> None:
    world, way = at("rolling one by one", 3, 1)
    assert texts(world, way[2]) == [
        "shift green to 50 %",
        "drain blue 1",
        "stop blue 1",
        "start green 1 (v2)",
        "await green 1",
        "admit green 1",
        "shift green to 66.667 %",
    ]


def test_rolling_with_surge_grows_shifts_and_only_then_shrinks() -> None:
    way, bounds = the_way("rolling with surge", 3)
    assert texts(World.serving("v1", 3, bounds), way[1]) == [
        "start green 0 (v2)",
        "await green 0",
        "admit green 0",
        "shift green to 33.333 %",
        "drain blue 2",
        "stop blue 2",
    ]


def test_rolling_back_shifts_before_anything_else_when_stable_can_take_it() -> None:
    world, _ = at("blue-green at once", 2, 1)
    assert texts(world, stable_stage(2)) == ["shift green to 0 %", "drain green 0-1", "stop green 0-1"]


def test_rolling_back_shifts_what_stable_can_take_and_mends_it_for_the_rest() -> None:
    world, _ = at("blue-green at once", 3, 1)
    world.lose(("blue", 1), "dead")
    assert texts(world, stable_stage(3)) == [
        "shift green to 33.333 %",
        "drain blue 1",
        "start blue 1 (v1)",
        "await blue 1",
        "admit blue 1",
        "shift green to 0 %",
        "drain green 0-2",
        "stop green 0-2",
    ]


def test_traffic_that_nobody_answers_goes_to_the_ready_side_before_anything_else() -> None:
    world, way = at("canary", 3, 4)
    world.lose(("green", 0), "dead")
    assert texts(world, way[4]) == [
        "shift green to 0 %",
        "drain green 0",
        "start green 0 (v2)",
        "await green 0",
        "admit green 0",
        "shift green to 25 %",
    ]
    world, way = at("canary", 3, 4)
    for n in range(3):
        world.lose(("blue", n), "failing")
    assert texts(world, way[4])[:2] == ["shift green to 100 %", "await blue 0-2"]


def test_what_the_router_finds_up_is_left_alone_when_a_single_probe_fails() -> None:
    """Under overload a probe fails here and there: draining for that would take the capacity that is needed most."""
    world = World.serving("v1", 3, Limits(3, 6))
    for n in range(3):
        world.put("blue", n, "v1", Health.FAILING)
        world.members["blue", n] = World.serving("v1", 3, Limits(3, 6)).members["blue", n]
    assert texts(world, stable_stage(3)) == []


def test_what_is_not_ready_for_the_router_either_is_waited_for_and_not_restarted() -> None:
    world = World.serving("v1", 3, Limits(2, 6))
    world.lose(("blue", 1), "failing")
    assert texts(world, stable_stage(3)) == ["await blue 1", "admit blue 1"]


def test_the_side_that_users_are_on_is_mended_before_the_standby() -> None:
    world, way = at("blue-green at once", 2, 1)
    world.lose(("blue", 0), "vanished")
    world.lose(("green", 0), "vanished")
    assert texts(world, way[1])[:4] == ["drain green 0", "start green 0 (v2)", "await green 0", "admit green 0"]


def test_room_is_made_by_what_serves_nobody() -> None:
    world, _ = at("rolling one by one", 3, 2)
    world.lose(("green", 0), "unreachable")
    assert texts(world, stable_stage(3))[:4] == [
        "shift green to 50 %",
        "drain green 0",
        "stop green 0",
        "start blue 1 (v1)",
    ]


def test_an_old_standby_is_drained_and_stopped_before_the_candidate_takes_its_place() -> None:
    way, bounds = the_way("blue-green at once", 2)
    world = World.serving("v1", 2, bounds)
    world.put("green", 0, "v0")
    world.put("green", 1, "v0")
    assert texts(world, way[0]) == [
        "drain green 0-1",
        "stop green 0-1",
        "start green 0-1 (v2)",
        "await green 0-1",
        "admit green 0-1",
    ]


def test_a_stranger_among_those_that_serve_is_removed_although_there_is_no_room() -> None:
    way, bounds = the_way("rolling one by one", 7)
    world = World.serving("v1", 6, bounds)
    world.instances.pop(("blue", 5))
    world.put("blue", 5, "v0")
    world.put("green", 0, "v2")
    world.weights = {"blue": 85.714, "green": 14.286}
    run(world, way[1], ROLES)
    assert_reached(world, way[1], ROLES)


def test_an_interrupted_drain_is_finished_before_the_stop() -> None:
    world, way = at("rolling with surge", 3, 0)
    run(world, Stage("ready", 1, 3, 33.333), ROLES)
    assert next_step(world.observe(), way[1], ROLES, world.limits) == Drain("blue", (2,))
    world.apply(Drain("blue", (2,)), interrupted=True)
    assert texts(world, way[1]) == ["drain blue 2", "stop blue 2"]
    assert texts(world, stable_stage(3))[:2] == ["admit blue 2", "shift green to 0 %"]


def test_a_member_that_the_router_finds_down_is_admitted_again() -> None:
    world = World.serving("v1", 2, Limits(2, 4))
    world.lose(("blue", 1), "unreachable")
    assert texts(world, stable_stage(2)) == ["admit blue 1"]


def test_a_member_without_an_instance_is_taken_out() -> None:
    world = World.serving("v1", 2, Limits(2, 4))
    world.lose(("blue", 1), "vanished")
    assert texts(world, stable_stage(2)) == ["drain blue 1", "start blue 1 (v1)", "await blue 1", "admit blue 1"]


@pytest.mark.parametrize("weights", [{"blue": 66.666, "green": 33.333}, {"blue": 66.666, "green": 33.334}])
def test_weights_that_are_off_by_a_rounding_are_set_again(weights: dict[str, float]) -> None:
    world, way = at("rolling one by one", 3, 1)
    world.weights = dict(weights)
    assert converge(world.observe(), way[1], ROLES, world.limits) == (Shift({"green": 33.333, "blue": 66.667}),)


def test_routing_that_would_not_survive_a_restart_is_set_again() -> None:
    world, way = at("canary", 3, 2)
    world.persisted = False
    assert texts(world, way[2]) == ["shift green to 1 %"]


def test_a_stage_that_is_reached_needs_no_step() -> None:
    world, way = at("canary", 3, 2)
    assert converge(world.observe(), way[2], ROLES, world.limits) == ()


def test_without_a_stable_release_only_all_of_the_traffic_can_be_had() -> None:
    first = Roles("blue", "v1", "green", None)
    way, bounds = the_way("canary", 2)
    with pytest.raises(Refused, match="no stable release is known"):
        converge(NOTHING, way[1], first, bounds)
    with pytest.raises(Refused, match="no stable release is known"):
        converge(NOTHING, stable_stage(2), first, bounds)
    plan = converge(NOTHING, Stage("first release", 2, 0, 100.0), first, bounds)
    assert plan == (
        Start("blue", "v1", (0, 1)),
        AwaitReady("blue", (0, 1)),
        Admit("blue", (0, 1)),
        Shift({"blue": 100.0, "green": 0.0}),
    )


def test_a_stage_beyond_the_limits_is_refused_with_the_figures() -> None:
    world = World.serving("v1", 3, Limits(floor=3, ceiling=3))
    with pytest.raises(Refused) as refused:
        converge(world.observe(), Stage("too much", 1, 3, 10.0), ROLES, world.limits)
    assert refused.value.facts["limits"] == "at least 3 serving, at most 3 instances"
    assert "no room" in refused.value.what


def test_more_traffic_than_the_instances_of_a_stage_can_take_is_refused() -> None:
    world = World.serving("v1", 3, Limits(floor=3, ceiling=6))
    plan = converge(world.observe(), Stage("hasty", 1, 3, 50.0), ROLES, world.limits)
    assert not any(isinstance(step, Shift) for step in plan)
    for step in plan:
        world.apply(step)
    with pytest.raises(Refused, match="green has too few instances for 50 %"):
        next_step(world.observe(), Stage("hasty", 1, 3, 50.0), ROLES, world.limits)


def test_fewer_instances_than_the_floor_are_refused_and_none_is_taken_away() -> None:
    world = World.serving("v1", 3, Limits(floor=3, ceiling=6))
    with pytest.raises(Refused, match="blue cannot spare an instance"):
        converge(world.observe(), Stage("too few", 0, 1, 0.0), ROLES, world.limits)


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("size", [1, 3])
def test_the_first_release_is_proven_before_it_is_the_only_one_to_get_traffic(kind: str, size: int) -> None:
    world = World(limits(EVERY[kind], size, 100.0))
    first = roles(world.observe(), "v1")
    table = stages(EVERY[kind], size, first_release=True)
    proof = proving_stage(table, size, world.limits, first_release=True)
    assert not any(isinstance(step, Shift) for step in run(world, proof, first))
    assert converge(world.observe(), proof, first, world.limits) == ()
    assert run(world, table[0], first) == [Shift({"blue": 100.0, "green": 0.0})]
    assert promoted(world.observe(), "v1", size)


def test_a_plan_that_gets_stuck_later_still_saves_what_it_can_first() -> None:
    world = World.serving("v1", 2, Limits(floor=2, ceiling=2))
    world.put("green", 0, "v2", Health.DEAD)
    world.weights = {"blue": 90.0, "green": 10.0}
    plan = converge(world.observe(), Stage("too much", 1, 2, 10.0), ROLES, world.limits)
    assert plan[0] == Shift({"green": 0.0, "blue": 100.0})


def test_the_candidate_goes_where_the_traffic_is_not() -> None:
    assert roles(NOTHING, "v1") == Roles("blue", "v1", "green", None)
    assert roles(World.serving("v1", 2, Limits(2, 4)).observe(), "v2") == ROLES
    assert roles(World.serving("v1", 2, Limits(2, 4), "green").observe(), "v2") == Roles("blue", "v2", "green", "v1")


@pytest.mark.parametrize("weight", [0.0, 0.1, 50.0, 75.0, 100.0])
def test_a_candidate_keeps_its_slot_whatever_its_weight(weight: float) -> None:
    world = World.serving("v1", 2, Limits(2, 4))
    world.put("green", 0, "v2")
    world.weights = {"blue": 100.0 - weight, "green": weight}
    assert roles(world.observe(), "v2") == ROLES


@pytest.mark.parametrize(("lost", "weight"), [("green", 75.0), ("green", 5.0), ("blue", 5.0), ("blue", 95.0)])
def test_roles_survive_the_loss_of_a_whole_side(lost: str, weight: float) -> None:
    world = World.serving("v1", 2, Limits(2, 4))
    world.put("green", 0, "v2")
    world.weights = {"blue": 100.0 - weight, "green": weight}
    for place in [place for place in world.instances if place[0] == lost]:
        world.lose(place, "vanished")
    assert roles(world.observe(), "v2", "v1") == ROLES


def test_what_runs_in_the_stable_slot_is_stable_and_the_ledger_is_only_asked_when_nothing_does() -> None:
    world = World.serving("v1", 2, Limits(2, 4))
    assert roles(world.observe(), "v2", "v0").stable_release == "v1"
    world.put("blue", 2, "v0")
    assert roles(world.observe(), "v2").stable_release == "v1"
    assert roles(world.observe(), "v2", "v0").stable_release == "v0"
    alone = World.serving("v2", 2, Limits(2, 4), "green")
    assert roles(alone.observe(), "v2", "v1") == ROLES
    assert roles(alone.observe(), "v2", "v2").stable_release is None


def test_a_release_is_promoted_when_it_has_all_traffic_with_all_instances() -> None:
    world = World.serving("v1", 2, Limits(2, 4))
    assert promoted(world.observe(), "v1", 2)
    assert not promoted(world.observe(), "v1", 3)
    assert not promoted(world.observe(), "v2", 2)
    for spoil in (
        lambda w: w.lose(("blue", 0), "dead"),
        lambda w: w.lose(("blue", 0), "unreachable"),
        lambda w: w.weights.update(blue=99.9, green=0.1),
        lambda w: setattr(w, "persisted", False),
        lambda w: w.put("blue", 2, "v0"),
    ):
        spoilt = world.fork()
        spoil(spoilt)
        assert not promoted(spoilt.observe(), "v1", 2)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Start("green", "3f2c1a9", (1, 2)), "start green 1-2 (3f2c1a9)"),
        (Start("green", "0123456789abcdef", (1,)), "start green 1 (0123456789ab)"),
        (AwaitReady("blue", (3, 1, 2, 5)), "await blue 1-3, 5"),
        (Admit("blue", (2,)), "admit blue 2"),
        (Shift({"green": 5.0, "blue": 95.0}), "shift green to 5 %"),
        (Drain("blue", (1, 3)), "drain blue 1, 3"),
        (Stop("blue", (1, 2, 3)), "stop blue 1-3"),
    ],
)
def test_a_step_is_described_in_a_few_words(step: Step, text: str) -> None:
    assert describe(step) == text
