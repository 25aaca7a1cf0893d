"""What every router must do, whichever it is."""

import contextlib
import math
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.router import MemoryRouter
from tasks.common.errors import Refused, Retryable
from tasks.common.lease import Grant, LeaseLost
from tasks.common.model import Target
from tasks.rollout.model import Admission
from tasks.rollout.ports import Endpoint, Router
from tests.support.grants import DEFAULT, holding, lost
from tests.support.haproxy import (
    CAPACITY,
    ELSEWHERE,
    TARGET,
    Backend,
    Haproxy,
    await_open,
    backends,
    open_requests,
    running_haproxy,
)
from tests.support.processes import wait_until

NOTHING = {"blue": 0.0, "green": 0.0}


@dataclass(frozen=True)
class World:
    """A router under test, another one opened on the same target, and what can go wrong."""

    router: Router
    reopened: Callable[[], Router]
    under: Callable[[Grant | None], Router]
    """Return the router opened on the same target by the holder of another lease."""
    elsewhere: Router
    endpoint: Callable[[str, int], Endpoint]
    """Return an instance that is up; every call another one."""
    lose: Callable[[Endpoint], None]
    recover: Callable[[Endpoint], None]
    holding: Callable[[str, int, int], AbstractContextManager[object]]
    """Keep so many requests open at a member, longer than any test."""

    def admitted(self, *members: tuple[str, int]) -> list[Endpoint]:
        endpoints = [self.endpoint(slot, index) for slot, index in members]
        self.router.admit(endpoints)
        return endpoints

    def weights(self) -> dict[str, float]:
        return self.router.observe().weights

    def seen(self) -> list[tuple[str, int, Admission, bool]]:
        return [(m.slot, m.index, m.admission, m.up) for m in self.router.observe().members]


@pytest.fixture(scope="module")
def pool() -> Iterator[tuple[Backend, ...]]:
    with backends("one", "two", "three") as started:
        yield started


@pytest.fixture(params=["memory", pytest.param("haproxy", marks=pytest.mark.server)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield _memory(tmp_path)
        return
    pool: tuple[Backend, ...] = request.getfixturevalue("pool")
    with running_haproxy() as haproxy:
        yield _haproxy(haproxy, pool)
    for backend in pool:
        backend.start()


def _memory(folder: Path) -> World:
    name = uuid.uuid4().hex

    def opened(grant: Grant | None = DEFAULT, target: Target = TARGET) -> MemoryRouter:
        settings = MemoryRouter.Settings(world=name, capacity=CAPACITY)
        return MemoryRouter(settings, Context(folder, target, grant=grant))

    @contextlib.contextmanager
    def holding(slot: str, index: int, number: int) -> Iterator[None]:
        opened().hold(slot, index, number)
        yield

    return World(
        router=opened(),
        reopened=opened,
        under=opened,
        elsewhere=opened(target=ELSEWHERE),
        endpoint=lambda slot, index: Endpoint(slot, index, f"{uuid.uuid4().hex}:80", "/ready"),
        lose=lambda endpoint: opened().lose(endpoint.address),
        recover=lambda endpoint: opened().recover(endpoint.address),
        holding=holding,
    )


def _haproxy(haproxy: Haproxy, pool: tuple[Backend, ...]) -> World:
    by_address = {backend.address: backend for backend in pool}
    free = iter(pool)

    @contextlib.contextmanager
    def holding(slot: str, index: int, number: int) -> Iterator[None]:
        del index
        with open_requests(haproxy, "/slow?600", number):
            await_open(haproxy.router(), slot, number)
            yield

    return World(
        router=haproxy.router(up_within="1s"),
        reopened=haproxy.router,
        under=lambda grant: haproxy.router(grant=grant),
        elsewhere=haproxy.router(ELSEWHERE),
        endpoint=lambda slot, index: next(free).endpoint(slot, index),
        lose=lambda endpoint: by_address[endpoint.address].kill(),
        recover=lambda endpoint: by_address[endpoint.address].start(),
        holding=holding,
    )


def test_nothing_is_routed_before_the_first_release(world: World) -> None:
    observed = world.router.observe()
    assert (observed.weights, observed.members, observed.persisted) == (NOTHING, (), True)


def test_admitted_endpoints_are_members_that_are_in_and_up_at_their_addresses(world: World) -> None:
    endpoints = world.admitted(("blue", 0), ("blue", 1), ("green", 0))
    members = world.router.observe().members
    assert [(m.slot, m.index, m.address) for m in members] == [(e.slot, e.index, e.address) for e in endpoints]
    assert {(m.admission, m.up, m.open_requests) for m in members} == {(Admission.IN, True, 0)}


def test_admitting_gives_no_slot_any_weight(world: World) -> None:
    world.admitted(("blue", 0))
    assert world.weights() == NOTHING


def test_what_was_set_is_persisted(world: World) -> None:
    world.admitted(("blue", 0), ("green", 0))
    assert world.router.observe().persisted
    world.router.shift({"blue": 95, "green": 5})
    assert world.router.observe().persisted
    world.router.drain("blue", [0], 5.0)
    assert world.router.observe().persisted


def test_admitting_again_changes_nothing(world: World) -> None:
    endpoints = world.admitted(("blue", 0), ("green", 1))
    before = world.router.observe()
    world.router.admit(endpoints)
    assert world.router.observe() == before


def test_endpoint_that_is_not_up_is_reported_and_not_let_in(world: World) -> None:
    world.admitted(("blue", 0))
    world.router.shift({"blue": 100})
    lost = world.endpoint("green", 0)
    world.lose(lost)
    with pytest.raises(Retryable) as failure:
        world.router.admit([lost])
    assert lost.address in str(failure.value)
    assert ("green", 0, Admission.IN) not in [(slot, index, admission) for slot, index, admission, _ in world.seen()]
    assert world.weights() == {"blue": 100, "green": 0}


def test_endpoint_that_came_up_late_is_let_in_by_trying_again(world: World) -> None:
    late = world.endpoint("green", 0)
    world.lose(late)
    with pytest.raises(Retryable):
        world.router.admit([late])
    world.recover(late)
    world.router.admit([late])
    assert world.seen() == [("green", 0, Admission.IN, True)]


def test_endpoint_without_room_is_refused_and_none_of_the_call_is_let_in(world: World) -> None:
    fitting = world.endpoint("blue", 0)
    for slot, index in (("blue", CAPACITY), ("blue", -1), ("red", 0)):
        with pytest.raises(Refused, match="no room"):
            world.router.admit([fitting, Endpoint(slot, index, fitting.address, "/ready")])
    assert world.seen() == []


def test_member_is_moved_by_admitting_its_new_address(world: World) -> None:
    world.admitted(("blue", 0))
    (moved,) = world.admitted(("blue", 0))
    assert [(m.address, m.admission, m.up) for m in world.router.observe().members] == [
        (moved.address, Admission.IN, True)
    ]


def test_member_that_was_lost_is_seen_in_but_not_up_and_recovers(world: World) -> None:
    (lost,) = world.admitted(("blue", 0))
    world.lose(lost)
    wait_until(lambda: world.seen() == [("blue", 0, Admission.IN, False)], what="the loss")
    world.recover(lost)
    wait_until(lambda: world.seen() == [("blue", 0, Admission.IN, True)], what="the recovery")


def test_weights_are_observed_exactly_as_they_were_set(world: World) -> None:
    world.admitted(("blue", 0), ("green", 0))
    for green in (0.001, 0.1, 5, 33.333, 50, 99.999, 100):
        world.router.shift({"blue": round(100 - green, 3), "green": green})
        assert world.weights() == {"blue": pytest.approx(100 - green, abs=1e-9), "green": green}


def test_slot_that_is_not_named_in_a_shift_gets_nothing(world: World) -> None:
    world.admitted(("blue", 0), ("green", 0))
    world.router.shift({"green": 100})
    assert world.weights() == {"blue": 0, "green": 100}


def test_shift_can_be_repeated_undone_and_done_again(world: World) -> None:
    world.admitted(("blue", 0), ("green", 0))
    for weights in ({"blue": 95, "green": 5}, {"blue": 95, "green": 5}, {"blue": 100, "green": 0}, {"green": 100}):
        world.router.shift(dict(weights))
        assert world.weights() == {"blue": 0, **weights}


IMPOSSIBLE: tuple[dict[str, float], ...] = (
    {"red": 100},
    {"blue": 100, "red": 0},
    {},
    {"blue": 0, "green": 0},
    {"blue": 50, "green": 40},
    {"blue": 100, "green": 100},
    {"blue": 150, "green": -50},
    {"blue": 99.9995, "green": 0.0005},
    {"blue": math.nan, "green": 100},
    {"blue": math.inf, "green": 0},
    {"blue": 0, "green": 100},
    {"blue": 99.999, "green": 0.001},
)


def test_impossible_weights_are_refused_and_the_old_ones_stay(world: World) -> None:
    world.admitted(("blue", 0))  # green has no member
    world.router.shift({"blue": 100})
    for weights in IMPOSSIBLE:
        with pytest.raises(Refused):
            world.router.shift(dict(weights))
        assert world.weights() == {"blue": 100, "green": 0}, weights


def test_weight_on_a_slot_whose_members_are_all_down_is_refused(world: World) -> None:
    _, green = world.admitted(("blue", 0), ("green", 0))
    world.router.shift({"blue": 100})
    world.lose(green)
    wait_until(lambda: ("green", 0, Admission.IN, False) in world.seen(), what="the loss")
    with pytest.raises(Refused, match="no member that is up"):
        world.router.shift({"blue": 95, "green": 5})
    assert world.weights() == {"blue": 100, "green": 0}


def test_drained_members_are_out_and_the_others_stay(world: World) -> None:
    world.admitted(("blue", 0), ("blue", 1), ("green", 0))
    assert world.router.drain("blue", [1], 5.0) == 0
    assert world.seen() == [("blue", 0, Admission.IN, True), ("green", 0, Admission.IN, True)]


def test_draining_again_and_draining_strangers_changes_nothing(world: World) -> None:
    world.admitted(("blue", 0), ("blue", 1))
    for slot, index in (("blue", 1), ("blue", 1), ("blue", 3), ("green", 0), ("blue", CAPACITY + 5), ("red", 0)):
        assert world.router.drain(slot, [index], 5.0) == 0
    assert world.router.drain("blue", [], 5.0) == 0
    assert world.seen() == [("blue", 0, Admission.IN, True)]


def test_drain_says_how_many_open_requests_it_cut(world: World) -> None:
    world.admitted(("blue", 0))
    world.router.shift({"blue": 100})
    with world.holding("blue", 0, 3):
        assert [m.open_requests for m in world.router.observe().members] == [3]
        assert world.router.drain("blue", [0], 0.2) == 3
    assert world.seen() == []


def test_member_that_was_drained_can_be_admitted_again(world: World) -> None:
    (endpoint,) = world.admitted(("blue", 0))
    world.router.drain("blue", [0], 5.0)
    world.router.admit([endpoint])
    world.router.drain("blue", [0], 5.0)
    world.router.admit([endpoint])
    assert world.seen() == [("blue", 0, Admission.IN, True)]


def test_another_object_for_the_same_target_sees_and_does_the_same(world: World) -> None:
    world.admitted(("blue", 0), ("green", 0))
    world.router.shift({"blue": 95, "green": 5})
    other = world.reopened()
    assert other.observe() == world.router.observe()
    other.shift({"blue": 100})
    assert world.weights() == {"blue": 100, "green": 0}


def test_another_environment_is_left_alone(world: World) -> None:
    (endpoint,) = world.admitted(("blue", 0))
    world.router.shift({"blue": 100})
    assert (world.elsewhere.observe().weights, world.elsewhere.observe().members) == (NOTHING, ())
    world.elsewhere.admit([endpoint])
    world.elsewhere.drain("blue", [0], 5.0)
    assert world.seen() == [("blue", 0, Admission.IN, True)]
    assert world.weights() == {"blue": 100, "green": 0}


def test_observing_while_weights_change_never_shows_a_sum_other_than_100(world: World) -> None:
    world.admitted(("blue", 0), ("green", 0))
    world.router.shift({"blue": 100})
    stop, sums = threading.Event(), set[float]()

    def watch() -> None:
        watcher = world.reopened()
        while not stop.is_set():
            sums.add(round(sum(watcher.observe().weights.values()), 6))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        for green in range(0, 101, 5):
            world.router.shift({"blue": 100 - green, "green": green})
    finally:
        stop.set()
        thread.join()
    assert sums == {100.0}


# Leases


def every_change(world: World) -> dict[str, Callable[[Router], object]]:
    """Return each kind of change, after a first release whose traffic is on blue; also those that change nothing."""
    blue, _ = world.admitted(("blue", 0), ("green", 0))
    world.router.shift({"blue": 100})
    new = world.endpoint("green", 1)
    return {
        "admit": lambda router: router.admit([new]),
        "admit again": lambda router: router.admit([blue]),
        "shift": lambda router: router.shift({"blue": 95, "green": 5}),
        "shift again": lambda router: router.shift({"blue": 100}),
        "drain": lambda router: router.drain("green", [0], 5.0),
        "drain a stranger": lambda router: router.drain("green", [3], 5.0),
        "claim": lambda router: router.claim(),
    }


def test_holder_of_an_older_lease_changes_nothing_after_a_newer_claim(world: World) -> None:
    changes = every_change(world)
    world.under(holding(2)).claim()
    before = world.router.observe()
    for name, change in changes.items():
        with pytest.raises(LeaseLost) as refusal:
            change(world.router)
        assert (refusal.value.facts["token"], refusal.value.facts["newest token"]) == (1, 2), name
        assert world.router.observe() == before, name


def test_holder_whose_grant_says_that_the_lease_is_lost_changes_nothing(world: World) -> None:
    changes = every_change(world)
    before = world.router.observe()
    for name, change in changes.items():
        with pytest.raises(LeaseLost):
            change(world.under(lost(2)))
        assert world.router.observe() == before, name
    world.router.claim()  # a lease that was lost has left no token


def test_nothing_is_changed_without_a_lease_but_all_is_observed(world: World) -> None:
    changes = every_change(world)
    before = world.router.observe()
    for name, change in changes.items():
        with pytest.raises(Refused, match="nobody holds a lease"):
            change(world.under(None))
        assert world.under(None).observe() == before, name


def test_holder_of_a_newer_lease_may_do_everything_and_is_the_only_one_from_then_on(world: World) -> None:
    changes = every_change(world)
    for change in changes.values():
        change(world.under(holding(2)))
    assert world.weights() == {"blue": 100, "green": 0}
    assert world.seen() == [("blue", 0, Admission.IN, True), ("green", 1, Admission.IN, True)]
    with pytest.raises(LeaseLost):
        world.router.shift({"blue": 100})


def test_claiming_again_changes_nothing(world: World) -> None:
    for token in (2, 2, 3, 3):
        world.under(holding(token)).claim()
    with pytest.raises(LeaseLost):
        world.under(holding(2)).claim()
    world.under(holding(3)).claim()


def test_lease_of_one_environment_says_nothing_about_another(world: World) -> None:
    world.under(holding(2)).claim()
    world.elsewhere.admit([world.endpoint("blue", 0)])
    assert [m.slot for m in world.elsewhere.observe().members] == ["blue"]
