"""The fence between real processes: paused, killed and woken up at the worst moments, and with damaged files."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from blocks import fence as fencing
from blocks.fence import Fence
from blocks.routers.haproxy import HaproxyRouter
from blocks.runtimes.supervisord import SupervisordRuntime
from tasks.common.errors import Refused, Retryable
from tasks.common.lease import Grant, LeaseLost
from tasks.rollout.model import Admission, Health
from tests.support.grants import holding, sleeping
from tests.support.haproxy import Backend, Haproxy, backends, running_haproxy
from tests.support.needs import need
from tests.support.paused import calling, paused_in, stop_here
from tests.support.processes import listens, wait_until
from tests.support.supervised import Place, place_in
from tests.support.supervisor import running_supervisord
from tests.support.workloads import Release, release_of

_ROOT = Path(__file__).parents[2]


def fence(folder: Path, grant: Grant | None) -> Fence:
    return Fence(folder / "campus.fence", grant, "campus")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fencing, "_LOCK_WITHIN_S", 0.3)


def change_and_stop(opened: Fence, file: Path) -> None:
    """Stop in the middle of writing the file."""
    with opened.changing():
        stop_here()
        file.write_text("changed")


def claim_impatiently(opened: Fence, file: Path) -> None:
    """Write to the file why the fence cannot be claimed."""
    fencing._LOCK_WITHIN_S = 0.3
    try:
        opened.claim()
    except Retryable as error:
        file.write_text(str(error))


# Somebody else


@pytest.mark.usefixtures("impatient")
def test_process_that_is_stopped_within_a_change_is_named_and_waited_for(tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    with paused_in(partial(change_and_stop, fence(tmp_path, holding(1)), changed), tmp_path) as paused:
        with pytest.raises(Retryable, match=rf"process {paused.pid} \(.+\) .* is stopped in the middle") as failure:
            fence(tmp_path, holding(2)).claim()
        assert failure.value.next_action == f"end it: kill -9 {paused.pid}; then run this again"
        assert not changed.exists()
        assert paused.woken() == "done"
    assert changed.exists()
    fence(tmp_path, holding(2)).claim()
    with pytest.raises(LeaseLost):
        fence(tmp_path, holding(1)).claim()


@pytest.mark.usefixtures("impatient")
def test_process_that_is_killed_within_a_change_leaves_no_lock(tmp_path: Path) -> None:
    with paused_in(partial(change_and_stop, fence(tmp_path, holding(1)), tmp_path / "changed"), tmp_path) as paused:
        paused.kill()
    fence(tmp_path, holding(2)).claim()


@pytest.mark.usefixtures("impatient")
def test_change_that_only_takes_long_is_told_from_a_stopped_one(tmp_path: Path) -> None:
    with (
        fence(tmp_path, holding(1)).changing(),
        pytest.raises(Retryable, match=f"process {os.getpid()} .* still in the middle") as failure,
    ):
        fence(tmp_path, holding(2)).claim()
    assert "see what process" in failure.value.next_action


@pytest.mark.usefixtures("impatient")
def test_outdated_holder_is_not_told_to_kill_the_rightful_one(tmp_path: Path) -> None:
    call = partial(change_and_stop, fence(tmp_path, holding(2)), tmp_path / "changed")
    with paused_in(call, tmp_path), pytest.raises(LeaseLost, match=r"lease 1 .* lease 2"):
        fence(tmp_path, holding(1)).claim()


@pytest.mark.usefixtures("impatient")
def test_process_within_a_change_of_something_else_is_not_named(tmp_path: Path) -> None:
    calls = []
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        calls.append(partial(change_and_stop, fence(tmp_path / name, holding(1)), tmp_path / name / "changed"))
    with (
        paused_in(calls[0], tmp_path),
        fence(tmp_path, holding(1)).changing(),
        paused_in(calls[1], tmp_path),
        pytest.raises(Retryable, match=f"process {os.getpid()} "),
    ):
        fence(tmp_path, holding(2)).claim()


def test_process_that_cannot_be_seen_from_a_container_is_not_guessed(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may start a process in a PID namespace of its own")
    said = tmp_path / "said"
    argv, _ = calling(partial(claim_impatiently, fence(tmp_path, holding(2)), said), tmp_path)
    with fence(tmp_path, holding(1)).changing():
        separate = [str(need("unshare")), "--pid", "--fork", "--mount-proc", *argv]
        subprocess.run(separate, cwd=_ROOT, check=True, timeout=60, capture_output=True)
    assert f"fuser -v {tmp_path}/campus.fence.lock" in said.read_text()
    assert str(os.getpid()) not in said.read_text().replace(str(tmp_path), "")


def test_no_change_of_an_older_lease_begins_after_a_newer_claim_has_returned(tmp_path: Path) -> None:
    events: list[str] = []

    def change_until_refused() -> None:
        with contextlib.suppress(LeaseLost):
            while True:
                with fence(tmp_path, holding(1)).changing():
                    events.append("changed")
                    events.append("ended")

    threads = [threading.Thread(target=change_until_refused) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(events) > 100, what="some changes")
    fence(tmp_path, holding(2)).claim()
    events.append("claimed")
    for thread in threads:
        thread.join()
    assert events == ["changed", "ended"] * (len(events) // 2) + ["claimed"], "one at a time, and none after the claim"


# Its files


def test_token_is_written_when_it_is_new_and_only_then(tmp_path: Path) -> None:
    file = tmp_path / "campus.fence"
    fence(tmp_path, holding(7)).claim()
    first = file.stat()
    fence(tmp_path, holding(7)).claim()
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert file.read_text() == "7\n"
    fence(tmp_path, holding(10)).claim()
    assert file.read_text() == "10\n"


@pytest.mark.parametrize("content", [b"", b"\n", b"12", b"12\n3", b"-1\n", b"1e3\n", b"\xff\n", b"1\n\n"])
def test_damaged_token_is_refused_and_removing_it_is_the_way_on(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "campus.fence"
    file.write_bytes(content)
    with pytest.raises(Refused, match="damaged") as failure, fence(tmp_path, holding(5)).changing():
        pytest.fail("it may be an older lease")
    assert (failure.value.on, file.read_bytes()) == (str(file), content)
    assert "remove that file" in failure.value.next_action
    file.unlink()
    fence(tmp_path, holding(5)).claim()
    assert file.read_text() == "5\n"


def test_missing_folder_is_refused_or_made(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be persisted"):
        fence(tmp_path / "absent", holding()).claim()
    Fence(tmp_path / "absent" / "campus.fence", holding(), "campus", makes_folder=True).claim()
    assert (tmp_path / "absent" / "campus.fence").read_text() == "1\n"


def test_change_that_fails_leaves_no_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), fence(tmp_path, holding(1)).changing():
        raise ValueError("broken")
    fence(tmp_path, holding(2)).claim()


def test_without_a_grant_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nobody holds a lease"):
        fence(tmp_path, None).claim()
    assert list(tmp_path.iterdir()) == []


# Paused holders of a real router and a real runtime


def router_calls(router: HaproxyRouter, new: Backend) -> dict[str, Callable[[], object]]:
    return {
        "shift": partial(router.shift, {"blue": 95, "green": 5}),
        "admit": partial(router.admit, [new.endpoint("green", 1)]),
        "drain": partial(router.drain, "green", [0], 5.0),
    }


ROUTER_PAUSES = {"shift": (1, 2, 5, 6), "admit": (1, 2, 4, 10), "drain": (1, 2, 6, 7)}
"""The first question is that of the method as a whole; the last one of a shift comes before users notice it."""


@pytest.fixture(scope="module")
def pool() -> Iterator[tuple[Backend, ...]]:
    with backends("blue0", "green0", "green1") as started:
        yield started


@pytest.fixture
def haproxy(pool: tuple[Backend, ...]) -> Iterator[Haproxy]:
    blue, green, _ = pool
    with running_haproxy() as running_one:
        router = running_one.router()
        router.admit([blue.endpoint("blue", 0), green.endpoint("green", 0)])
        router.shift({"blue": 100})
        yield running_one


@pytest.mark.server
@pytest.mark.parametrize(
    ("method", "question"),
    [(method, question) for method, questions in ROUTER_PAUSES.items() for question in questions],
)
def test_router_is_not_changed_by_a_holder_that_wakes_up_after_a_newer_claim(
    haproxy: Haproxy, pool: tuple[Backend, ...], tmp_path: Path, method: str, question: int
) -> None:
    call = router_calls(haproxy.router(grant=sleeping(1, question)), pool[2])[method]
    newer = haproxy.router(grant=holding(2))
    with paused_in(call, tmp_path) as paused:
        newer.claim()
        before, files = newer.observe(), _contents(haproxy.state)
        assert paused.woken() == "LeaseLost"
    assert newer.observe() == before
    assert _contents(haproxy.state) == files
    router_calls(newer, pool[2])[method]()


@pytest.mark.server
@pytest.mark.parametrize("method", ["shift", "admit", "drain"])
def test_router_is_changed_by_a_holder_that_wakes_up_before_anybody_else_came(
    haproxy: Haproxy, pool: tuple[Backend, ...], tmp_path: Path, method: str
) -> None:
    before = haproxy.router().observe()
    with paused_in(router_calls(haproxy.router(grant=sleeping(1, 2)), pool[2])[method], tmp_path) as paused:
        assert paused.woken() == "done"
    assert haproxy.router().observe() != before


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def supervised() -> Iterator[Callable[[Path], Place]]:
    with running_supervisord() as supervisor:
        yield lambda folder: place_in(supervisor, folder)


@pytest.fixture
def place(supervised: Callable[[Path], Place], tmp_path: Path) -> Iterator[Place]:
    """blue/0 runs v1, which goes on when it is asked to end, and a forget broke off earlier."""
    found = supervised(tmp_path)
    found.started(found.release("v1", IGNORE_TERM="1").changed(drain_s=600.0))
    (tmp_path / "releases" / found.service / "production" / ".remains").mkdir()
    yield found
    for slot in found.ports:
        found.runtime(grant=holding(100)).stop(slot, [0, 1], 0.0)


@pytest.fixture
def new(place: Place) -> tuple[Release, Release]:
    """v2, which is placed, and v3, which is not."""
    return place.release("v2"), release_of("v3", place.folder, service=place.service)


def runtime_calls(runtime: SupervisordRuntime, new: tuple[Release, Release]) -> dict[str, Callable[[], object]]:
    second, third = new
    return {
        "place": partial(runtime.place, third.workload, third.archive),
        "start": partial(runtime.start, "green", [0], second.workload),
        "stop": partial(runtime.stop, "blue", [0], 0.0),
        "forget": partial(runtime.forget, ["v1"]),
    }


RUNTIME_PAUSES = {"place": (1, 3), "forget": (2, 3, 4), "start": (1, 3, 4, 5), "stop": (1, 3, 4)}
"""Each method as a whole asks for the programs and for the releases. In a stop, 3 asks to end and 4 kills."""


@pytest.mark.server
@pytest.mark.parametrize(
    ("method", "question"),
    [(method, question) for method, questions in RUNTIME_PAUSES.items() for question in questions],
)
def test_runtime_is_not_changed_by_a_holder_that_wakes_up_after_a_newer_claim(
    place: Place, new: tuple[Release, Release], tmp_path: Path, method: str, question: int
) -> None:
    call = runtime_calls(place.runtime(grant=sleeping(1, question)), new)[method]
    newer = place.runtime(grant=holding(2))
    with paused_in(call, tmp_path) as paused:
        newer.claim()
        before, files = newer.observe(), _what_is_placed(place)
        assert paused.woken() == "LeaseLost"
    assert newer.observe() == before
    assert _what_is_placed(place) == files
    assert place.ask()["env"]["SLIPWAY_RELEASE"] == "v1", "not killed"
    assert not listens(place.ports["green"][0]), "not started"
    runtime_calls(newer, new)[method]()


@pytest.mark.server
@pytest.mark.parametrize("method", ["place", "forget", "start", "stop"])
def test_runtime_is_changed_by_a_holder_that_wakes_up_before_anybody_else_came(
    place: Place, new: tuple[Release, Release], tmp_path: Path, method: str
) -> None:
    before, files = place.runtime().observe(), _what_is_placed(place)
    with paused_in(runtime_calls(place.runtime(grant=sleeping(1, 3)), new)[method], tmp_path) as paused:
        assert paused.woken() == "done"
    assert (place.runtime().observe(), _what_is_placed(place)) != (before, files)


def _what_is_placed(place: Place) -> tuple[set[str], set[str]]:
    """Return the names of releases and of programs; what place() unpacks aside is not placed."""
    releases = place.folder / "releases" / place.service / "production"
    programs = place.supervisor.programs.glob(f"{place.service}-*")
    return {path.name for path in releases.iterdir() if path.name[0] != "."}, {path.name for path in programs}


@pytest.mark.server
def test_multi_step_stop_that_lost_its_lease_in_the_middle_leaves_the_rest_to_the_newer_holder(
    place: Place, tmp_path: Path
) -> None:
    with paused_in(partial(place.runtime(grant=sleeping(1, 4)).stop, "blue", [0], 0.0), tmp_path) as paused:
        place.runtime(grant=holding(2)).claim()
        assert paused.woken() == "LeaseLost"
    assert place.health() == [Health.FAILING], "asked to end, and not killed"
    place.runtime(grant=holding(2)).stop("blue", [0], 0.0)
    assert place.health() == []


@pytest.mark.server
def test_newer_holder_finishes_an_admission_that_an_older_one_was_paused_in(
    haproxy: Haproxy, pool: tuple[Backend, ...], tmp_path: Path
) -> None:
    endpoints = [pool[2].endpoint("green", 1)]
    with paused_in(partial(haproxy.router(grant=sleeping(1, 10)).admit, endpoints), tmp_path) as paused:
        newer = haproxy.router(grant=holding(2))
        newer.claim()
        assert [m.admission for m in newer.observe().members][-1] is Admission.DRAINING
        newer.admit(endpoints)
        assert paused.woken() == "LeaseLost"
    assert [m.admission for m in newer.observe().members][-1] is Admission.IN
    assert newer.observe().persisted
