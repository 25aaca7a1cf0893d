"""What is left of a rollout: found anew from what is observed, and shown as it will be done."""

import pytest

from tasks.common.estate import Environment
from tasks.common.model import DriverSpec
from tasks.common.service import Promotion
from tasks.rollout.model import Health, Instance, Limits, Step
from tasks.rollout.plan import describe
from tasks.rollout.strategies import limits, stages
from tasks.rollout.way import Way, find_way, preview, to_try_out
from tests.unit.rollout.promotions import AT_ONCE, CANARY, EVERY, GRADUAL
from tests.unit.rollout.world import World, run

MEMORY = DriverSpec(driver="memory")
PROMOTIONS = pytest.mark.parametrize("kind", list(EVERY))


def environment(replicas: int = 3) -> Environment:
    return Environment.model_construct(
        url="http://x", runtime=MEMORY, router=MEMORY, metrics=MEMORY, replicas=replicas, floor=100.0, pace=None
    )


def world(promotion: Promotion = CANARY, *, candidates: int = 0, weight: float = 0.0, replicas: int = 3) -> World:
    """v1 serves in blue; so many candidates of v2 in green have this share."""
    made = World.serving("v1", replicas, limits(promotion, replicas, 100.0))
    for n in range(candidates):
        made.put("green", n, "v2")
    made.weights = {"blue": 100.0 - weight, "green": weight}
    return made


def way(there: World, promotion: Promotion = CANARY, release: str = "v2", soaked: tuple[str, ...] = ()) -> Way:
    return find_way(there.observe(), release, None, promotion, environment(), soaked)


def names(found: Way) -> list[str]:
    return [stage.name for stage in found.left]


FIVE_UP = ["canary 5 %", "canary 25 %", "canary 60 %", "canary 100 %", "retire stable"]


# What is left


@PROMOTIONS
def test_release_that_has_not_begun_goes_all_the_way_and_is_proven_first(kind: str) -> None:
    found = way(world(EVERY[kind]), EVERY[kind])
    assert found.left == stages(EVERY[kind], 3)
    assert found.proving is not None
    assert found.proving.weight_percent == 0
    assert not found.done


def test_before_its_first_traffic_every_candidate_is_tried_out() -> None:
    there = world(candidates=1)
    there.put("green", 1, "v2", Health.STARTING)
    found = way(there)
    assert [each.index for each in to_try_out(_candidates(there), found.proving)] == [0, 1]


def test_what_a_killed_run_was_starting_is_not_asked_before_it_listens() -> None:
    there = world(candidates=1, weight=25.0)
    there.put("green", 1, "v2", Health.STARTING)
    found = way(there)
    assert [each.index for each in to_try_out(_candidates(there), found.proving)] == [0]
    assert "await green 1" in preview(there.observe(), found)


def _candidates(there: World) -> list[Instance]:
    return [each for each in there.observe().instances if each.release == "v2"]


def test_release_with_traffic_carries_on_from_its_share_and_is_not_proven_again() -> None:
    found = way(world(candidates=1, weight=5.0))
    assert names(found) == FIVE_UP
    assert found.proving is None


def test_release_without_traffic_is_proven_again_also_where_its_instances_run() -> None:
    found = way(world(candidates=1))
    assert names(found)[0] == "canary 0.1 %"
    assert found.proving is not None


def test_stage_that_this_run_has_soaked_is_skipped_while_its_share_is_in_force() -> None:
    assert names(way(world(candidates=1, weight=5.0), soaked=("canary 5 %",))) == FIVE_UP[1:]
    assert (
        names(way(world(candidates=1, weight=5.0), soaked=("canary 0.1 %", "canary 1 %", "canary 5 %")))
        == (FIVE_UP[1:])
    )


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0, 4.999, 5.001])
def test_stage_that_was_soaked_is_gone_through_again_where_its_share_is_not_in_force(weight: float) -> None:
    found = way(world(candidates=1, weight=weight), soaked=("canary 5 %",))
    assert names(found) == names(way(world(candidates=1, weight=weight)))


def test_other_stages_that_were_soaked_are_not_skipped() -> None:
    assert names(way(world(candidates=1, weight=5.0), soaked=("canary 1 %", "canary 25 %"))) == FIVE_UP


def test_last_stage_is_always_gone_through() -> None:
    there = world(AT_ONCE, candidates=3, weight=100.0)
    there.persisted = False
    assert names(way(there, AT_ONCE, soaked=("blue-green 100 %",))) == ["blue-green 100 %"]


def test_soaked_canary_whose_instance_is_lost_is_skipped_and_mended_on_the_way() -> None:
    there = world(candidates=1, weight=5.0)
    del there.instances["green", 0], there.members["green", 0]
    found = way(there, soaked=("canary 5 %",))
    assert names(found)[0] == "canary 0.1 %", "without an instance no stage is in force"


@PROMOTIONS
def test_release_that_serves_alone_is_done(kind: str) -> None:
    found = way(World.serving("v2", 3, Limits(3, 6), slot="green"), EVERY[kind])
    assert found.done
    assert found.proving is None
    assert len(found.left) == 1


def test_release_that_has_all_traffic_and_lacks_an_instance_is_not_done() -> None:
    there = World.serving("v2", 3, Limits(3, 6), slot="green")
    there.put("green", 2, "v2", Health.DEAD)
    assert not way(there).done


def test_release_that_a_restart_of_the_router_would_undo_is_not_done() -> None:
    there = World.serving("v2", 3, Limits(3, 6), slot="green")
    there.persisted = False
    assert not way(there).done


def test_very_first_release_is_a_single_stage() -> None:
    found = way(World(Limits(3, 6)))
    assert names(found) == ["first release"]
    assert found.roles.stable_release is None
    assert found.proving is not None


def test_soaked_first_release_is_watched_again_rather_than_skipped() -> None:
    assert names(way(World(Limits(3, 6)), soaked=("first release",))) == ["first release"]


# Shown beforehand


@PROMOTIONS
def test_preview_begins_with_the_artefact_and_reaches_every_stage_in_order(kind: str) -> None:
    there = world(EVERY[kind])
    found = way(there, EVERY[kind])
    lines = preview(there.observe(), found)
    assert lines[0] == "place the artefact on the hosts"
    assert found.proving is not None
    wanted = [f"reached: {stage}" for stage in (found.proving, *found.left)]
    assert [line for line in lines if line.startswith("reached: ")] == wanted


@PROMOTIONS
def test_preview_is_the_way_that_is_then_gone(kind: str) -> None:
    there = world(EVERY[kind])
    found = way(there, EVERY[kind])
    shown = [line for line in preview(there.observe(), found)[1:] if not line.startswith(("reached", "watch"))]
    gone: list[Step] = []
    for stage in (*filter(None, [found.proving]), *found.left):
        gone += run(there, stage, found.roles)
    assert shown == [describe(step) for step in gone]


def test_preview_says_what_is_watched_and_for_how_long() -> None:
    there = world(GRADUAL)
    lines = preview(there.observe(), way(there, GRADUAL))
    assert [line for line in lines if line.startswith("watch")] == [
        "watch for 5 min: errors",
        "watch for 5 min: errors",
        "watch for 10 min: errors",
        "watch for 15 min: errors",
    ]


def test_preview_of_what_is_done_says_that_nothing_moves() -> None:
    there = World.serving("v2", 3, Limits(3, 6), slot="green")
    assert preview(there.observe(), way(there)) == ["nothing to move: v2 serves all traffic already"]


def test_preview_leaves_out_what_was_soaked() -> None:
    there = world(candidates=1, weight=5.0)
    lines = preview(there.observe(), way(there, soaked=("canary 5 %",)))
    assert not any("canary 5 %" in line for line in lines)
    assert "reached: canary 25 %: 1 candidate, 3 stable, 25 %" in lines
