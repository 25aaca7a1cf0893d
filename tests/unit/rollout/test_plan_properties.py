"""What holds for every plan: each step is checked by a world that refuses what would hurt users."""

import os
from collections.abc import Collection
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.rollout.model import (
    SLOTS,
    Admission,
    Admit,
    AwaitReady,
    Drain,
    Health,
    Limits,
    Member,
    Shift,
    Stage,
    Start,
    Step,
    Stop,
)
from tasks.rollout.plan import converge, next_step, roles
from tasks.rollout.strategies import remaining, stable_stage, stages
from tests.unit.rollout.promotions import EVERY, ROLES, SIZES, the_way
from tests.unit.rollout.world import StepFailed, Violation, World, assert_reached, check_earned, run, watched_step

bounded = settings(
    max_examples=150,
    deadline=None,
    derandomize="CI" in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
kinds = st.sampled_from(sorted(EVERY))
sizes = st.sampled_from(SIZES)
floors = st.sampled_from([0.0, 50.0, 80.0, 100.0])
every_kind_and_size = pytest.mark.parametrize(("kind", "size"), [(k, n) for k in EVERY for n in SIZES])


@dataclass(frozen=True)
class Mishap:
    """Before step number `at`, counted over the whole rollout, something happens to one instance."""

    at: int
    slot: str
    index: int
    how: str


mishaps = st.lists(
    st.builds(
        Mishap,
        st.integers(0, 25),
        st.sampled_from(SLOTS),
        st.integers(0, 3),
        st.sampled_from(["vanished", "dead", "failing", "unreachable"]),
    ),
    max_size=4,
)


def resume(world: World, kind: str, size: int) -> None:
    """A new process goes on, knowing nothing but what it sees and what the ledger says was stable."""
    found = roles(world.observe(), "v2", "v1")
    table = stages(EVERY[kind], size)
    for stage in remaining(table, world.observe(), found):
        run(world, stage, found)
    assert found == ROLES
    assert_reached(world, table[-1], found)


def roll_back(world: World, size: int) -> None:
    found = roles(world.observe(), "v2", "v1")
    run(world, stable_stage(size), found)
    assert found == ROLES
    assert_reached(world, stable_stage(size), found)


def resume_and_roll_back(states: Collection[World], tried: set[str], kind: str, size: int) -> set[str]:
    """Both goals are reached from each state that has not been tried before; returns what has been tried now."""
    for state in states:
        if state.key() not in tried:
            resume(state.fork(), kind, size)
            roll_back(state.fork(), size)
    return tried | {state.key() for state in states}


@every_kind_and_size
def test_every_stage_is_reached_and_rolled_back_from_and_reached_again(kind: str, size: int) -> None:
    way, bounds = the_way(kind, size)
    world = World.serving("v1", size, bounds)
    for stage in way:
        run(world, stage, ROLES)
        assert_reached(world, stage, ROLES)
        roll_back(world.fork(), size)
    again = world.fork()
    roll_back(again, size)
    for stage in way:
        run(again, stage, ROLES)
    assert_reached(again, way[-1], ROLES)


@every_kind_and_size
def test_a_rollout_killed_after_or_within_any_step_resumes_and_rolls_back(kind: str, size: int) -> None:
    way, bounds = the_way(kind, size)
    world, tried = World.serving("v1", size, bounds), set[str]()
    for stage in way:
        while (step := watched_step(world, stage, ROLES)) is not None:
            within = world.fork()
            within.apply(step, interrupted=True)
            world.apply(step)
            tried = resume_and_roll_back((within, world), tried, kind, size)


@every_kind_and_size
def test_a_roll_back_killed_after_or_within_any_step_is_finished_or_undone(kind: str, size: int) -> None:
    way, bounds = the_way(kind, size)
    world, tried = World.serving("v1", size, bounds), set[str]()
    for stage in way:
        run(world, stage, ROLES)
        going_back = world.fork()
        while (step := watched_step(going_back, stable_stage(size), ROLES)) is not None:
            within = going_back.fork()
            within.apply(step, interrupted=True)
            going_back.apply(step)
            tried = resume_and_roll_back((within, going_back), tried, kind, size)


@bounded
@given(kinds, sizes, floors, mishaps, st.integers(0, 30), st.booleans())
def test_lost_instances_are_made_up_for_on_the_way_and_on_the_way_back(
    kind: str, size: int, floor: float, lost: list[Mishap], turn_at: int, back: bool
) -> None:
    way, bounds = the_way(kind, size, floor)
    world = World.serving("v1", size, bounds)
    for stage in way:
        while (step := watched_step(world, stage, ROLES)) is not None:
            for mishap in [m for m in lost if m.at == len(world.steps)]:
                world.lose((mishap.slot, mishap.index), mishap.how)
                step = watched_step(world, stage, ROLES)
            if step is None or (back and len(world.steps) == turn_at):
                break
            world.apply(step)
        if back and len(world.steps) == turn_at:
            roll_back(world, size)
            return
    resume(world, kind, size)


@bounded
@given(kinds, sizes, floors, mishaps, st.booleans())
def test_a_candidate_that_never_gets_ready_never_gets_traffic_and_is_rolled_back(
    kind: str, size: int, floor: float, lost: list[Mishap], stable_is_hit: bool
) -> None:
    way, bounds = the_way(kind, size, floor)
    world = World.serving("v1", size, bounds)
    world.sick = frozenset({"v2"})
    for attempt in range(4):
        for mishap in lost:
            if stable_is_hit and mishap.at == attempt:
                world.lose(("blue", mishap.index), mishap.how)
        try:
            run(world, way[1], ROLES, at_most=60)
        except StepFailed:
            assert world.weight("green") == 0
        else:
            pytest.fail("a stage cannot be reached without a single ready candidate")
    roll_back(world, size)


@bounded
@given(kinds, sizes, st.integers(1, 7), st.integers(0, 6))
def test_candidates_that_all_die_under_traffic_hand_it_back_to_stable_first(
    kind: str, size: int, at_stage: int, sick_for: int
) -> None:
    way, bounds = the_way(kind, size)
    world = World.serving("v1", size, bounds)
    for stage in way[: at_stage + 1]:
        run(world, stage, ROLES)
    for place in [place for place in world.instances if place[0] == "green"]:
        world.lose(place, "dead")
    if world.capacity("blue"):
        assert next_step(world.observe(), way[-1], ROLES, bounds) == Shift({"green": 0.0, "blue": 100.0})
    world.sick = frozenset({"v2"})
    for _ in range(sick_for):
        with pytest.raises(StepFailed):
            run(world, way[-1], ROLES, at_most=60)
    world.sick = frozenset()
    roll_back(world, size)


@st.composite
def any_state(draw: st.DrawFn, size: int, bounds: Limits, releases: tuple[str, ...]) -> World:
    """Whatever one may find: mixed releases, half-dead slots, members without an instance, odd weights."""
    world = World(bounds)
    for slot in SLOTS:
        for n in range(size):
            release = draw(st.sampled_from([None, None, *releases]))
            if release is not None:
                world.put(slot, n, release, draw(st.sampled_from(Health)), member=False)
            admission = draw(st.sampled_from([None, Admission.IN, Admission.IN, Admission.DRAINING]))
            if admission is not None:
                up = draw(st.booleans())
                world.members[slot, n] = Member(slot, n, f"{slot}:{n}", admission, up=up, open_requests=int(up))
    weight = draw(st.sampled_from([None, 0.0, 0.1, 33.333, 50.0, 66.6, 100.0]))
    if weight is not None:
        world.weights = {"blue": round(100 - weight, 3), "green": weight}
    world.persisted = draw(st.booleans())
    return world


@settings(bounded, max_examples=300)
@given(kinds, sizes, floors, st.data())
def test_any_state_converges_to_any_stage_and_back(kind: str, size: int, floor: float, data: st.DataObject) -> None:
    way, bounds = the_way(kind, size, floor)
    world = data.draw(any_state(size, bounds, ("v1", "v2", "v0")))
    found = roles(world.observe(), "v2", "v1")
    goal = data.draw(st.sampled_from([*way, stable_stage(size)]))
    for stage in (goal, stable_stage(size), way[-1]):
        taken = run(world, stage, found)
        assert_reached(world, stage, found)
        assert all(taken.count(step) <= 2 for step in taken), "the executor gives up on a step that is asked for often"


@settings(bounded, max_examples=100)
@given(kinds, sizes, floors, st.data())
def test_a_plan_is_what_the_executor_does_when_every_step_succeeds(
    kind: str, size: int, floor: float, data: st.DataObject
) -> None:
    way, bounds = the_way(kind, size, floor)
    world = data.draw(any_state(size, bounds, ("v1", "v2", "v0")))
    found = roles(world.observe(), "v2", "v1")
    goal = data.draw(st.sampled_from([*way, stable_stage(size)]))
    plan = converge(world.observe(), goal, found, bounds)
    assert list(plan) == run(world, goal, found)
    assert converge(world.observe(), goal, found, bounds) == ()


@settings(bounded, max_examples=100)
@given(kinds, sizes, st.data())
def test_the_first_release_ever_converges_from_any_state(kind: str, size: int, data: st.DataObject) -> None:
    _, bounds = the_way(kind, size)
    world = data.draw(any_state(size, bounds, ("v1",)))
    found = roles(world.observe(), "v1")
    assert found.stable_release is None
    for stage in stages(EVERY[kind], size, first_release=True):
        run(world, stage, found)
        assert_reached(world, stage, found)


def orders_broken(plan: tuple[Step, ...]) -> dict[str, list[Step]]:
    """The plan with two steps in the wrong order, once for each rule that it obeys."""
    wrong = {}
    rules = {
        "shift before ready": (AwaitReady, Shift),
        "shift before drain": (Shift, Drain),
        "drain before stop": (Drain, Stop),
        "ready before admit": (AwaitReady, Admit),
        "start before await": (Start, AwaitReady),
    }
    for rule, (first, second) in rules.items():
        pairs = [
            (a, b)
            for a, step in enumerate(plan)
            for b, other in enumerate(plan)
            if a < b and isinstance(step, first) and isinstance(other, second)
        ]
        if pairs:
            a, b = min(pairs, key=lambda pair: pair[1] - pair[0])
            swapped = list(plan)
            swapped[a], swapped[b] = swapped[b], swapped[a]
            wrong[rule] = swapped
    return wrong


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_world_refuses_every_plan_whose_order_is_wrong(kind: str, size: int) -> None:
    """The properties above would mean nothing if the world let bad orders pass."""
    _, bounds = the_way(kind, size)
    count = max(1, min(bounds.ceiling - size, size))
    stage = Stage("some", count, size - count, round(100.0 * count / size, 3))
    world = World.serving("v1", size, bounds)
    plan = converge(world.observe(), stage, ROLES, bounds)
    wrong = orders_broken(plan)
    expected = {"shift before ready", "drain before stop", "ready before admit"}
    if bounds.floor == size:
        expected.add("shift before drain")
    else:
        # There is capacity to spare, so that draining first hurts nobody.
        wrong.pop("shift before drain", None)
    assert expected <= wrong.keys()
    for rule, steps in wrong.items():
        hurt = world.fork()
        with pytest.raises((Violation, KeyError)):
            for step in steps:
                hurt.apply(step)
            pytest.fail(f"'{rule}' was broken, and nobody noticed")


@pytest.mark.parametrize("size", SIZES)
def test_the_world_refuses_stopping_more_than_the_floor_allows(size: int) -> None:
    world = World.serving("v1", size, Limits(floor=size, ceiling=2 * size))
    with pytest.raises(Violation, match="users now miss 1"):
        world.apply(Drain("blue", (0,)))


@pytest.mark.parametrize("size", SIZES)
def test_the_world_refuses_an_instance_above_the_ceiling(size: int) -> None:
    world = World.serving("v1", size, Limits(floor=size, ceiling=size))
    with pytest.raises(Violation, match="above the ceiling"):
        world.apply(Start("green", "v2", (1,)))


def test_the_world_refuses_traffic_that_a_candidate_has_not_earned() -> None:
    way, bounds = the_way("canary", 3)
    world = World.serving("v1", 3, bounds)
    run(world, way[1], ROLES)
    with pytest.raises(Violation, match="has not earned it"):
        check_earned(world, Shift({"green": 50.0, "blue": 50.0}), way[1], ROLES)


def test_the_world_refuses_to_remove_an_old_release_under_traffic() -> None:
    way, bounds = the_way("canary", 3)
    world = World.serving("v1", 3, bounds)
    world.put("green", 0, "v0")
    world.weights = {"blue": 90.0, "green": 10.0}
    with pytest.raises(Violation, match="under traffic"):
        check_earned(world, Drain("green", (0,)), way[1], ROLES)
