"""What the HAProxy router says when it cannot do what it was asked to."""

import itertools

import pytest

from blocks.routers.haproxy import HaproxyRouter
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.common.model import Target
from tasks.rollout.ports import Endpoint
from tests.support.haproxy import (
    CAPACITY,
    IN_AND_UP,
    Backend,
    Haproxy,
    relay,
    states,
)
from tests.support.processes import paused

pytestmark = pytest.mark.server


def test_missing_socket_is_refused_with_its_path(haproxy: Haproxy) -> None:
    with pytest.raises(Refused) as failure:
        haproxy.router(socket="elsewhere.sock").observe()
    assert failure.value.on == str(haproxy.folder / "elsewhere.sock")
    assert "start HAProxy" in failure.value.next_action


def test_dead_haproxy_may_come_back(haproxy: Haproxy, router: HaproxyRouter) -> None:
    haproxy.kill()
    for call in (router.observe, lambda: router.shift({"green": 100}), lambda: router.drain("blue", [0], 1.0)):
        with pytest.raises(Retryable, match="does not answer"):
            call()
    haproxy.start()
    assert router.observe().weights == {"blue": 100, "green": 0}


def test_stopped_haproxy_is_waited_for_no_longer_than_the_timeout(haproxy: Haproxy, router: HaproxyRouter) -> None:
    worker = haproxy.worker()
    assert worker is not None
    with paused(worker), pytest.raises(Retryable, match="does not answer"):
        haproxy.router(timeout="200ms").observe()
    assert router.observe().weights == {"blue": 100, "green": 0}


def test_haproxy_that_dies_in_a_shift_comes_back_with_the_new_weights(haproxy: Haproxy, router: HaproxyRouter) -> None:
    def die(command: str) -> str | None:
        if command.startswith("set map"):
            haproxy.kill()
        return None

    with relay(haproxy, die) as socket, pytest.raises(Retryable) as failure:
        haproxy.router(socket=socket).shift({"blue": 95, "green": 5})
    assert "persisted, but not known to be in force: green gets 5 %" in failure.value.state
    haproxy.start()
    assert router.observe().weights == {"blue": 95, "green": 5}


def test_socket_without_level_admin_is_refused(haproxy: Haproxy, router: HaproxyRouter) -> None:
    haproxy.config.write_text(haproxy.config.read_text().replace("level admin", "level operator"))
    haproxy.restart()
    with pytest.raises(Refused, match="level admin"):
        router.drain("blue", [0], 1.0)
    assert states(router) == {"blue0": IN_AND_UP, "green0": IN_AND_UP}


def test_service_that_haproxy_does_not_know_is_refused(haproxy: Haproxy) -> None:
    with pytest.raises(Refused, match="take the sections that Slipway renders"):
        haproxy.router(Target("unknown", "production", "lab")).observe()


def test_other_state_folder_than_haproxys_is_refused(haproxy: Haproxy, router: HaproxyRouter) -> None:
    with pytest.raises(Refused, match="same state folder"):
        haproxy.router(state=".").observe()


def test_fewer_servers_than_the_capacity_are_refused_before_anything_changes(
    haproxy: Haproxy, pool: tuple[Backend, ...]
) -> None:
    router = haproxy.router(capacity=CAPACITY + 1)
    with pytest.raises(Refused, match="no room for blue/s4") as failure:
        router.admit([pool[0].endpoint("blue", 0), pool[0].endpoint("blue", CAPACITY)])
    assert f"an index below {CAPACITY}" in failure.value.next_action
    assert router.observe().members == ()


def test_state_folder_that_is_gone_stops_a_shift_before_it_takes_effect(
    haproxy: Haproxy, router: HaproxyRouter
) -> None:
    moved = haproxy.state.rename(haproxy.folder / "moved")
    with pytest.raises(Refused, match="cannot be persisted"):
        router.shift({"green": 100})
    assert haproxy.answers() == {"blue0"}
    moved.rename(haproxy.state)
    assert router.observe().weights == {"blue": 100, "green": 0}


def test_endpoint_that_cannot_be_told_to_haproxy_is_refused(haproxy: Haproxy) -> None:
    router = haproxy.router()
    for address in ("localhost:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999"):
        with pytest.raises(Refused, match="no address"):
            router.admit([Endpoint("blue", 0, address, "/ready")])
    for path in ("ready", "/a b", "/a;quit", "/a\nquit", "/a#b", "/%[env(HOME)]"):
        with pytest.raises(Refused, match="readiness path"):
            router.admit([Endpoint("blue", 0, "127.0.0.1:80", path)])
    assert router.observe().members == ()


def test_address_of_ip_version_6_is_understood(haproxy: Haproxy, pool: tuple[Backend, ...]) -> None:
    router = haproxy.router(up_within="200ms")
    with pytest.raises(Retryable):
        router.admit([Endpoint("blue", 0, f"[::1]:{pool[0].port}", "/ready")])
    assert [m.address for m in router.observe().members] == [f"[::1]:{pool[0].port}"]


@pytest.mark.parametrize("ignored", ["set map", "state ready", "state maint", "addr"])
def test_command_that_has_no_effect_is_unsafe(
    haproxy: Haproxy, router: HaproxyRouter, pool: tuple[Backend, ...], ignored: str
) -> None:
    with relay(haproxy, lambda command: _as_if_done(command) if ignored in command else None) as socket:
        deaf = haproxy.router(socket=socket, timeout="300ms")
        with pytest.raises(Unsafe, match="does not say what it was told"):
            if ignored == "set map":
                deaf.shift({"green": 100})
            elif ignored == "state maint":
                deaf.drain("blue", [0], 1.0)
            else:
                deaf.admit([pool[2].endpoint("blue", 0 if ignored == "addr" else 1)])


def _as_if_done(command: str) -> str:
    done = "no need to change the addr, no need to change the port by 'stats socket command'"
    return f"{done if ' addr ' in command else ''}\n\n"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("show map", "hello\n"),
        ("show map", "0x55d41744e120 green\n"),
        ("show map", "0x1 green 1\n0x2 green 2\n"),
        ("show servers state", "2\n# be_id\n"),
        ("show servers state", "\n"),
        ("show servers state", "1\n# be_id be_name\n1 x\n"),
        ("show servers state", "1\n# be_id be_name\n1\n"),
        ("show stat", "\n# pxname,svname,scur\nx,s0,many\n"),
        ("show stat", "# pxname,svname\nx,s0\n"),
    ],
)
def test_answer_that_is_not_understood_is_unsafe(
    haproxy: Haproxy, router: HaproxyRouter, command: str, answer: str
) -> None:
    with (
        relay(haproxy, lambda asked: answer if asked.startswith(command) else None) as socket,
        pytest.raises(Unsafe, match="not understood") as failure,
    ):
        haproxy.router(socket=socket).observe()
    assert str(failure.value.facts["command"]).startswith(command)


def test_command_with_an_unexpected_answer_is_unsafe_and_the_answer_is_shown(
    haproxy: Haproxy, router: HaproxyRouter
) -> None:
    with (
        relay(haproxy, lambda asked: "Out of memory\n" if asked.startswith("set map") else None) as socket,
        pytest.raises(Unsafe, match="Out of memory"),
    ):
        haproxy.router(socket=socket).shift({"green": 100})


@pytest.mark.parametrize("answer", ["", "1\n# be_id be_na"])
def test_answer_that_breaks_off_may_be_retried(haproxy: Haproxy, router: HaproxyRouter, answer: str) -> None:
    with (
        relay(haproxy, lambda asked: answer if asked.startswith("show servers") else None) as socket,
        pytest.raises(Retryable, match="broke off"),
    ):
        haproxy.router(socket=socket).observe()


def test_answer_that_never_ends_is_waited_for_no_longer_than_the_timeout(
    haproxy: Haproxy, router: HaproxyRouter
) -> None:
    with (
        relay(
            haproxy, lambda asked: itertools.repeat("x" * 65536) if asked.startswith("show stat") else None
        ) as socket,
        pytest.raises(Retryable, match="does not answer"),
    ):
        haproxy.router(socket=socket, timeout="200ms").observe()


@pytest.mark.parametrize("last", ["state maint", "addr", "_health.map", "state drain", "health down", "state ready"])
def test_admission_that_broke_off_anywhere_is_finished_by_the_next_one(
    haproxy: Haproxy, router: HaproxyRouter, pool: tuple[Backend, ...], last: str
) -> None:
    endpoints = [pool[2].endpoint("blue", 1)]
    with (
        relay(haproxy, lambda asked: "" if asked.startswith("set") and last in asked else None) as socket,
        pytest.raises(Retryable) as failure,
    ):
        haproxy.router(socket=socket).admit(endpoints)
    assert failure.value.state == "weights are as before; not all of these members may be in"
    assert haproxy.answers() == {"blue0"}
    router.admit(endpoints)
    assert states(router) == {"blue0": IN_AND_UP, "blue1": IN_AND_UP, "green0": IN_AND_UP}
    assert router.observe().persisted


@pytest.mark.parametrize("last", ["state drain", "state maint", "addr"])
def test_drain_that_broke_off_anywhere_is_finished_by_the_next_one(
    haproxy: Haproxy, router: HaproxyRouter, last: str
) -> None:
    with (
        relay(haproxy, lambda asked: "" if asked.startswith("set") and last in asked else None) as socket,
        pytest.raises(Retryable) as failure,
    ):
        haproxy.router(socket=socket).drain("green", [0], 5.0)
    assert failure.value.state == "weights are as before; not all of these members may be out"
    router.drain("green", [0], 5.0)
    assert states(router) == {"blue0": IN_AND_UP}
    assert router.observe().persisted
