import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.estate import Pace
from tasks.common.model import Check, HttpCheck
from tasks.common.service import Analysis, Validation
from tasks.rollout.capacity import FULL, needed, share, thousandths
from tasks.rollout.model import Limits, Stage
from tasks.rollout.strategies import (
    finished_stage,
    limits,
    paced_analysis,
    paced_validation,
    proving_stage,
    remaining,
    stable_stage,
    stages,
)
from tests.unit.rollout.promotions import AT_ONCE, CANARY, EVERY, GRADUAL, ROLES, SIZES, canary_of, rolling_of, the_way
from tests.unit.rollout.world import World, run

PACE = Pace(soak_at_most_s="2s", analysis_every_at_most_s="1s", settle_at_most_s="3s", stable_for_at_most_s="4s")
every_kind_and_size = pytest.mark.parametrize(("kind", "size"), [(k, n) for k in EVERY for n in SIZES])


def counts(table: tuple[Stage, ...]) -> list[tuple[int, int, float]]:
    return [(s.candidate, s.stable, s.weight_percent) for s in table]


def test_blue_green_shifts_everything_at_once_and_keeps_the_old_colour() -> None:
    (only,) = stages(AT_ONCE, 3)
    assert (only.candidate, only.stable, only.weight_percent, only.soak_s) == (3, 3, 100.0, 900.0)
    assert [check.at_most for check in only.analysis] == ["1%"]


def test_gradual_blue_green_takes_the_steps_of_the_requirements() -> None:
    table = stages(GRADUAL, 2)
    assert counts(table) == [(2, 2, 10.0), (2, 2, 30.0), (2, 2, 50.0), (2, 2, 100.0)]
    assert [s.soak_s for s in table] == [300.0, 300.0, 600.0, 900.0]
    assert all(s.analysis for s in table)


def test_canaries_grow_with_their_weight_and_stable_is_retired_last() -> None:
    table = stages(CANARY, 4)
    assert counts(table) == [
        (1, 4, 0.1),
        (1, 4, 1.0),
        (1, 4, 5.0),
        (1, 4, 25.0),
        (3, 4, 60.0),
        (4, 4, 100.0),
        (4, 0, 100.0),
    ]
    assert (table[-1].soak_s, table[-1].analysis) == (0.0, ())


def test_a_canary_weight_below_the_routers_step_still_gets_traffic() -> None:
    assert stages(canary_of("0.0001%", "100%"), 3)[0].weight_percent == 0.001


def test_rolling_takes_the_place_of_stable_batch_by_batch() -> None:
    assert counts(stages(rolling_of(), 3)) == [(1, 2, 33.333), (2, 1, 66.667), (3, 0, 100.0)]
    assert counts(stages(rolling_of(batch=2), 5)) == [(2, 3, 40.0), (4, 1, 80.0), (5, 0, 100.0)]
    assert [s.name for s in stages(rolling_of(), 2)] == ["batch 1 of 2", "batch 2 of 2"]


@pytest.mark.parametrize(
    ("settings_", "replicas", "floor_percent", "expected"),
    [
        ({}, 4, 100.0, Limits(3, 4)),
        ({"batch": 2}, 4, 100.0, Limits(2, 4)),
        ({"batch": 9}, 4, 100.0, Limits(1, 4)),
        ({"max_surge": "25%"}, 4, 100.0, Limits(4, 5)),
        ({"max_surge": "25%"}, 5, 100.0, Limits(5, 7)),
        ({"max_unavailable": "10%"}, 4, 100.0, Limits(4, 5)),
        ({"max_unavailable": "10%"}, 10, 100.0, Limits(9, 10)),
        ({"max_unavailable": "100%"}, 4, 100.0, Limits(1, 4)),
        ({"max_surge": "25%", "max_unavailable": "10%"}, 10, 100.0, Limits(9, 13)),
        ({"max_surge": "0%", "max_unavailable": "10%"}, 4, 100.0, Limits(4, 5)),
        ({"max_surge": "25%"}, 10, 50.0, Limits(5, 13)),
        ({}, 1, 100.0, Limits(1, 2)),
        ({}, 1, 0.0, Limits(1, 2)),
    ],
)
def test_surge_rounds_up_unavailable_rounds_down_and_somebody_always_serves(
    settings_: dict[str, object], replicas: int, floor_percent: float, expected: Limits
) -> None:
    assert limits(rolling_of(**settings_), replicas, floor_percent) == expected


def test_blue_green_and_canary_may_double_the_instances_and_keep_the_floor() -> None:
    assert limits(AT_ONCE, 3, 100.0) == limits(CANARY, 3, 100.0) == Limits(3, 6)
    assert limits(CANARY, 3, 50.0) == Limits(2, 6)
    assert limits(CANARY, 3, 0.0) == Limits(1, 6)


@every_kind_and_size
def test_every_stage_can_carry_its_traffic_within_the_limits(kind: str, size: int) -> None:
    way, bounds = the_way(kind, size)
    assert bounds.floor >= 1
    for stage in way:
        weight = thousandths(stage.weight_percent)
        assert needed(weight, bounds.floor) <= stage.candidate
        assert needed(FULL - weight, bounds.floor) <= stage.stable
        assert stage.candidate + stage.stable <= bounds.ceiling
    assert (way[-1].candidate, way[-1].weight_percent) == (size, 100.0)
    assert [s.weight_percent for s in way] == sorted(s.weight_percent for s in way)


@every_kind_and_size
def test_the_first_release_is_one_stage_whatever_the_strategy(kind: str, size: int) -> None:
    (only,) = stages(EVERY[kind], size, first_release=True)
    assert counts((only,)) == [(size, 0, 100.0)]
    assert only.soak_s == next(s for s in reversed(stages(EVERY[kind], size)) if s.analysis).soak_s
    assert [check.at_most for check in only.analysis] == ["1%"], "nothing can be compared with a release that is not"
    bounds = limits(EVERY[kind], size, 100.0)
    assert counts((proving_stage((only,), size, bounds, first_release=True),)) == [(size, 0, 0.0)]


@every_kind_and_size
def test_the_pace_cuts_soaks_and_nothing_else(kind: str, size: int) -> None:
    slow, quick = stages(EVERY[kind], size), stages(EVERY[kind], size, PACE)
    assert counts(slow) == counts(quick)
    assert [s.analysis for s in slow] == [s.analysis for s in quick]
    assert [s.soak_s for s in quick] == [min(s.soak_s, 2.0) for s in slow]


def test_the_pace_cuts_the_waits_of_analysis_and_validation() -> None:
    analysis = Analysis()
    check = HttpCheck(path="/", expect=200)
    validation = Validation(limits=[Check(metric="errors", at_most="5%")], critical_features=[check])
    assert paced_analysis(analysis, None) is analysis
    assert paced_validation(validation, None) is validation
    assert paced_analysis(analysis, PACE) == Analysis(every_s="1s")
    paced = paced_validation(validation, PACE)
    assert (paced.settle_s, paced.stable_for_s) == (3.0, 4.0)
    assert (paced.limits, paced.critical_features) == (validation.limits, validation.critical_features)
    longer = Pace(soak_at_most_s="9h", analysis_every_at_most_s="9h", settle_at_most_s="9h", stable_for_at_most_s="9h")
    assert (paced_analysis(analysis, longer), paced_validation(validation, longer)) == (analysis, validation)


def test_the_goals_say_what_is_left_in_the_end() -> None:
    assert counts((stable_stage(3),)) == [(0, 3, 0.0)]
    assert counts((finished_stage(AT_ONCE, 3),)) == [(3, 3, 100.0)]
    assert counts((finished_stage(CANARY, 3),)) == counts((finished_stage(rolling_of(), 3),)) == [(3, 0, 100.0)]
    assert (finished_stage(AT_ONCE, 3).soak_s, finished_stage(AT_ONCE, 3).analysis) == (0.0, ())


@every_kind_and_size
def test_a_run_that_carries_on_starts_from_the_stage_that_was_reached(kind: str, size: int) -> None:
    way, bounds = the_way(kind, size)
    table = way[1:]
    world = World.serving("v1", size, bounds)
    assert remaining(table, world.observe(), ROLES) == table
    run(world, way[0], ROLES)
    assert remaining(table, world.observe(), ROLES) == table
    for n, stage in enumerate(table):
        run(world, stage, ROLES)
        assert remaining(table, world.observe(), ROLES) == table[n:]


def test_an_emergency_weight_on_a_few_canaries_does_not_count_as_a_stage() -> None:
    way, bounds = the_way("canary", 4)
    world = World.serving("v1", 4, bounds)
    run(world, way[1], ROLES)
    for n in range(4):
        world.lose(("blue", n), "vanished")
    world.weights = {"blue": 0.0, "green": 100.0}
    assert remaining(way[1:], world.observe(), ROLES)[0].weight_percent == 25.0


def test_a_release_that_is_returned_to_beside_its_unfinished_successor_loses_no_traffic() -> None:
    way, bounds = the_way("canary", 4)
    world = World.serving("v2", 4, bounds, slot="green")
    world.put("blue", 0, "v1")
    world.weights = {"blue": 5.0, "green": 95.0}
    assert remaining(way[1:], world.observe(), ROLES)[0].weight_percent == 100.0


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 1000), st.integers(1, 1000))
def test_what_some_instances_can_take_and_what_the_rest_can_take_is_everything(serving: int, floor: int) -> None:
    taken = share(serving, floor)
    assert needed(taken, floor) <= serving
    assert taken == FULL or needed(taken + 1, floor) > serving
    if serving < floor:
        assert needed(FULL - taken, floor) <= floor - serving
    assert needed(FULL, floor) == floor
    assert needed(0, floor) == 0
    assert needed(1, floor) == 1
