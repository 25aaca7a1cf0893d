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
from tasks.common.model import Target
from tasks.rollout.model import Health
from tasks.rollout.ports import Runtime
from tests.support.processes import free_port, wait_until
from tests.support.supervisor import RunningSupervisor, running_supervisord
from tests.support.workloads import Release, release_of, write_archive

_ROOM = 2


@dataclass(frozen=True)
class World:
    """A runtime under test, another one opened on the same target, and what can go wrong."""

    runtime: Runtime
    reopened: Callable[[], Runtime]
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
    for runtime in (world.runtime, world.elsewhere):
        for slot in ("blue", "green"):
            runtime.stop(slot, [i.index for i in runtime.observe() if i.slot == slot], 1.0)


def _memory(folder: Path) -> World:
    name = uuid.uuid4().hex

    def opened(environment: str = "production") -> MemoryRuntime:
        settings = MemoryRuntime.Settings(world=name, room=_ROOM)
        return MemoryRuntime(settings, Context(folder, Target("campus", environment, "lab"), Secrets(folder)))

    def make_unready(release: Release) -> Release:
        opened().fail_readiness(release.workload.release)
        return release

    return World(opened(), opened, opened("staging"), opened().lose, make_unready, folder)


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

    here, there = settings(), settings()

    def opened() -> SupervisordRuntime:
        return SupervisordRuntime(here, Context(folder, Target(service, "production", "lab"), Secrets(folder)))

    def lose(slot: str, index: int) -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{here.ports[service][slot][index]}/quit")
        wait_until(lambda: Health.DEAD in {i.health for i in opened().observe() if (i.slot, i.index) == (slot, index)})

    elsewhere = SupervisordRuntime(there, Context(folder, Target(service, "staging", "lab"), Secrets(folder)))
    return World(opened(), opened, elsewhere, lose, lambda release: release.with_env(READY_STATUS="503"), folder)


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
