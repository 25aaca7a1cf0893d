"""What every runtime must do, whichever it is."""

import contextlib
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from blocks.context import Context
from blocks.memory.runtime import MemoryRuntime
from blocks.runtimes.supervisord import SupervisordRuntime
from blocks.secrets import Secrets
from tasks.common.errors import Refused, Retryable
from tasks.common.lease import Grant, LeaseLost
from tasks.common.model import Target
from tasks.rollout.model import Health
from tasks.rollout.ports import Runtime
from tests.support.grants import DEFAULT, holding, lost
from tests.support.processes import free_port, wait_until
from tests.support.supervisor import RunningSupervisor, running_supervisord
from tests.support.workloads import Release, release_of, write_archive

_ROOM = 2


@dataclass(frozen=True)
class World:
    """A runtime under test, another one opened on the same target, and what can go wrong."""

    runtime: Runtime
    reopened: Callable[[], Runtime]
    under: Callable[[Grant | None], Runtime]
    """Return the runtime opened on the same target by the holder of another lease."""
    elsewhere: Runtime
    lose: Callable[[str, int], None]
    make_unready: Callable[[Release], Release]
    folder: Path

    def release(self, name: str) -> Release:
        return release_of(name, self.folder, ready_within="1s")

    def placed(self, name: str) -> Release:
        release = self.release(name)
        self.runtime.place(release.workload, release.archive)
        return release

    def running(self, name: str, slot: str = "blue", *indexes: int) -> Release:
        release = self.placed(name)
        self.runtime.start(slot, indexes or (0,), release.workload)
        self.runtime.await_ready(slot, indexes or (0,), 30.0)
        return release

    def seen(self) -> list[tuple[str, int, str, Health]]:
        return [(i.slot, i.index, i.release, i.health) for i in self.runtime.observe()]


@pytest.fixture(scope="module")
def supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSupervisor]:
    with running_supervisord() as running:
        yield running


@pytest.fixture(params=["memory", pytest.param("supervisord", marks=pytest.mark.server)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield _memory(tmp_path)
        return
    world = _supervisord(tmp_path, request.getfixturevalue("supervisor"))
    yield world
    for runtime in (world.under(holding(100)), world.elsewhere):
        for slot in ("blue", "green"):
            runtime.stop(slot, [i.index for i in runtime.observe() if i.slot == slot], 1.0)


def _memory(folder: Path) -> World:
    name = uuid.uuid4().hex

    def opened(grant: Grant | None = DEFAULT, environment: str = "production") -> MemoryRuntime:
        settings, target = MemoryRuntime.Settings(world=name, room=_ROOM), Target("campus", environment, "lab")
        return MemoryRuntime(settings, Context(folder, target, Secrets(folder), grant=grant))

    def make_unready(release: Release) -> Release:
        opened().fail_readiness(release.workload.release)
        return release

    elsewhere = opened(environment="staging")
    return World(opened(), opened, opened, elsewhere, opened().lose, make_unready, folder)


def _supervisord(folder: Path, supervisor: RunningSupervisor) -> World:
    service = f"campus-{uuid.uuid4().hex[:8]}"

    def settings() -> SupervisordRuntime.Settings:
        return SupervisordRuntime.Settings(
            socket=str(supervisor.socket),
            programs=str(supervisor.programs),
            releases="releases",
            logs="logs",
            ports={service: {slot: [free_port() for _ in range(_ROOM)] for slot in ("blue", "green")}},
            path=[str(Path(sys.executable).parent)],
        )

    settings_of = {"production": settings(), "staging": settings()}

    def opened(grant: Grant | None = DEFAULT, environment: str = "production") -> SupervisordRuntime:
        context = Context(folder, Target(service, environment, "lab"), Secrets(folder), grant=grant)
        return SupervisordRuntime(settings_of[environment], context)

    def lose(slot: str, index: int) -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{settings_of['production'].ports[service][slot][index]}/quit")
        wait_until(lambda: Health.DEAD in {i.health for i in opened().observe() if (i.slot, i.index) == (slot, index)})

    def make_unready(release: Release) -> Release:
        return release.with_env(READY_STATUS="503")

    return World(opened(), opened, opened, opened(environment="staging"), lose, make_unready, folder)


def test_nothing_is_observed_before_anything_was_started(world: World) -> None:
    world.placed("v1")
    assert world.runtime.observe() == ()


def test_started_instances_get_ready_and_are_observed_with_their_release(world: World) -> None:
    world.running("v1", "blue", 0, 1)
    assert world.seen() == [("blue", 0, "v1", Health.READY), ("blue", 1, "v1", Health.READY)]
    assert len({i.address for i in world.runtime.observe()}) == 2


def test_a_runtime_opened_again_observes_the_same_instances(world: World) -> None:
    world.running("v1")
    assert world.reopened().observe() == world.runtime.observe()


def test_instances_of_another_environment_are_not_seen_and_not_touched(world: World) -> None:
    release = world.running("v1")
    world.elsewhere.place(release.workload, release.archive)
    world.elsewhere.start("blue", [0], release.workload)
    world.elsewhere.await_ready("blue", [0], 30.0)
    world.runtime.stop("blue", [0], 5.0)
    assert world.seen() == []
    assert [i.health for i in world.elsewhere.observe()] == [Health.READY]


def test_a_wrong_digest_is_refused_and_nothing_is_placed(world: World) -> None:
    release = world.release("v1")
    write_archive(release.archive, {"app.py": "tampered"})
    with pytest.raises(Refused, match="digest differs"):
        world.runtime.place(release.workload, release.archive)
    with pytest.raises(Refused, match="not placed"):
        world.runtime.start("blue", [0], release.workload)


def test_placing_twice_is_placing_once(world: World) -> None:
    release = world.placed("v1")
    world.runtime.place(release.workload, release.archive)
    assert world.runtime.forget([]) == ("v1",)


def test_a_release_that_is_not_placed_is_refused(world: World) -> None:
    with pytest.raises(Refused, match="v1 is not placed"):
        world.runtime.start("blue", [0], world.release("v1").workload)
    assert world.seen() == []


@pytest.mark.parametrize(("slot", "index"), [("blue", _ROOM), ("blue", -1), ("red", 0)])
def test_an_index_that_the_slot_does_not_have_is_refused_before_anything_starts(
    world: World, slot: str, index: int
) -> None:
    release = world.placed("v1")
    with pytest.raises(Refused, match="no index"):
        world.runtime.start(slot, [0, index], release.workload)
    assert world.seen() == []


def test_a_missing_secret_is_refused_before_anything_starts(world: World) -> None:
    release = world.placed("v1").changed(secrets={"API_KEY": "file:nowhere"})
    with pytest.raises(Refused, match="secret"):
        world.runtime.start("blue", [0], release.workload)
    assert world.seen() == []


def test_starting_twice_is_starting_once(world: World) -> None:
    release = world.running("v1")
    before = world.runtime.observe()
    world.runtime.start("blue", [0], release.workload)
    world.runtime.start("blue", [0], release.workload)
    assert world.runtime.observe() == before


def test_an_index_that_runs_another_release_is_refused_and_left_running(world: World) -> None:
    world.running("v1")
    second = world.placed("v2")
    with pytest.raises(Refused, match="blue/0 runs release v1"):
        world.runtime.start("blue", [0, 1], second.workload)
    assert world.seen() == [("blue", 0, "v1", Health.READY)]


def test_a_lost_instance_is_dead_and_starting_brings_it_back(world: World) -> None:
    release = world.running("v1", "blue", 0, 1)
    world.lose("blue", 1)
    assert world.seen() == [("blue", 0, "v1", Health.READY), ("blue", 1, "v1", Health.DEAD)]
    with pytest.raises(Retryable):
        world.runtime.await_ready("blue", [0, 1], 5.0)
    world.runtime.start("blue", [0, 1], release.workload)
    world.runtime.await_ready("blue", [0, 1], 30.0)
    assert [health for *_, health in world.seen()] == [Health.READY, Health.READY]


def test_a_dead_instance_gives_way_to_another_release(world: World) -> None:
    world.running("v1")
    world.lose("blue", 0)
    second = world.placed("v2")
    world.runtime.start("blue", [0], second.workload)
    world.runtime.await_ready("blue", [0], 30.0)
    assert world.seen() == [("blue", 0, "v2", Health.READY)]


def test_an_instance_that_never_gets_ready_is_told_and_observed_as_failing(world: World) -> None:
    release = world.make_unready(world.placed("v1"))
    world.runtime.start("blue", [0], release.workload)
    with pytest.raises(Retryable, match="not ready within 1 s") as caught:
        world.runtime.await_ready("blue", [0], 1.0)
    assert caught.value.facts["last lines"]
    wait_until(lambda: world.seen() == [("blue", 0, "v1", Health.FAILING)], what="the instance seen as failing")


def test_waiting_for_an_instance_that_does_not_exist_fails(world: World) -> None:
    with pytest.raises(Retryable):
        world.runtime.await_ready("blue", [0], 1.0)


def test_stopped_instances_do_not_exist_and_the_others_stay(world: World) -> None:
    world.running("v1", "blue", 0, 1)
    world.runtime.stop("blue", [0], 5.0)
    world.runtime.stop("blue", [0], 5.0)
    assert world.seen() == [("blue", 1, "v1", Health.READY)]


def test_start_stop_start_stop_leaves_nothing(world: World) -> None:
    release = world.running("v1")
    world.runtime.stop("blue", [0], 5.0)
    world.runtime.start("blue", [0], release.workload)
    world.runtime.await_ready("blue", [0], 30.0)
    world.runtime.stop("blue", [0], 5.0)
    assert world.seen() == []


def test_only_releases_that_neither_run_nor_are_kept_are_forgotten(world: World) -> None:
    world.running("v1")
    for name in ("v2", "v3", "v4"):
        world.placed(name)
    assert world.runtime.forget(["v3"]) == ("v2", "v4")
    assert world.runtime.forget(["v3"]) == ()
    with pytest.raises(Refused, match="not placed"):
        world.runtime.start("green", [0], world.release("v2").workload)
    world.runtime.start("green", [0], world.release("v3").workload)
    world.runtime.await_ready("green", [0], 30.0)


# Leases


def every_change(world: World) -> dict[str, Callable[[Runtime], object]]:
    """Return each kind of change, with v1 running as blue/0, v2 placed and v3 built; also those that change nothing."""
    first, second, third = world.running("v1"), world.placed("v2"), world.release("v3")
    return {
        "place": lambda runtime: runtime.place(third.workload, third.archive),
        "place again": lambda runtime: runtime.place(first.workload, first.archive),
        "start": lambda runtime: runtime.start("green", [0], second.workload),
        "start again": lambda runtime: runtime.start("blue", [0], first.workload),
        "stop": lambda runtime: runtime.stop("blue", [0], 5.0),
        "stop nothing": lambda runtime: runtime.stop("blue", [1], 5.0),
        "forget": lambda runtime: runtime.forget([]),
        "forget nothing": lambda runtime: runtime.forget(["v1", "v2", "v3"]),
        "claim": lambda runtime: runtime.claim(),
    }


def test_holder_of_an_older_lease_changes_nothing_after_a_newer_claim(world: World) -> None:
    changes = every_change(world)
    newer = world.under(holding(2))
    newer.claim()
    before = world.runtime.observe()
    for name, change in changes.items():
        with pytest.raises(LeaseLost) as refusal:
            change(world.runtime)
        assert (refusal.value.facts["token"], refusal.value.facts["newest token"]) == (1, 2), name
        assert world.runtime.observe() == before, name
    assert newer.forget([]) == ("v2",), "v2 was placed, and v3 was not"


def test_holder_whose_grant_says_that_the_lease_is_lost_changes_nothing(world: World) -> None:
    changes = every_change(world)
    before = world.runtime.observe()
    for name, change in changes.items():
        with pytest.raises(LeaseLost):
            change(world.under(lost(2)))
        assert world.runtime.observe() == before, name
    assert world.runtime.forget([]) == ("v2",), "a lease that was lost has left no token"


def test_nothing_is_changed_without_a_lease_but_all_is_observed(world: World) -> None:
    changes = every_change(world)
    before = world.runtime.observe()
    for name, change in changes.items():
        with pytest.raises(Refused, match="nobody holds a lease"):
            change(world.under(None))
        assert world.under(None).observe() == before, name
    assert world.runtime.forget([]) == ("v2",)


def test_holder_of_a_newer_lease_may_do_everything_and_is_the_only_one_from_then_on(world: World) -> None:
    changes = every_change(world)
    for change in changes.values():
        change(world.under(holding(2)))
    world.runtime.await_ready("green", [0], 30.0)
    assert world.seen() == [("green", 0, "v2", Health.READY)]
    with pytest.raises(LeaseLost):
        world.runtime.stop("green", [0], 5.0)


def test_claiming_again_changes_nothing(world: World) -> None:
    for token in (2, 2, 3, 3):
        world.under(holding(token)).claim()
    with pytest.raises(LeaseLost):
        world.under(holding(2)).claim()
    world.under(holding(3)).claim()


def test_lease_of_one_environment_says_nothing_about_another(world: World) -> None:
    world.under(holding(2)).claim()
    release = world.release("v1")
    world.elsewhere.place(release.workload, release.archive)
    assert world.elsewhere.forget([]) == ("v1",)


def test_capacity_is_told_in_shares_of_the_whole(world: World) -> None:
    found = world.runtime.capacity()
    for share in (found.cpu_free_percent, found.memory_free_percent, found.disk_free_percent):
        assert 0 <= share <= 100
