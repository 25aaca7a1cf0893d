"""What is left of the HAProxy router's shares and members after a reload, a crash or somebody's hand."""

import collections
from dataclasses import replace

import pytest

from blocks.routers.haproxy import HaproxyRouter
from tasks.common.errors import Retryable, Unsafe
from tasks.rollout.model import Admission, Routing
from tests.support.haproxy import (
    GREEN,
    IN_AND_UP,
    Backend,
    Haproxy,
    load,
    relay,
    states,
)
from tests.support.processes import wait_until

pytestmark = pytest.mark.server


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_weights_and_members_outlive(
    how: str, haproxy: Haproxy, router: HaproxyRouter, pool: tuple[Backend, ...]
) -> None:
    router.admit([pool[2].endpoint("blue", 1)])
    router.shift({"blue": 70, "green": 30})
    before = _observed(router)
    getattr(haproxy, how)()
    answers = collections.Counter(haproxy.get() for _ in range(200))
    assert answers.keys() == {(200, "blue0"), (200, "blue1"), (200, "green0")}
    assert _observed(router) == before
    assert [m.address for m in before.members] == [pool[0].address, pool[2].address, pool[1].address]
    wait_until(lambda: "L7OK" in haproxy.command(f"show stat {GREEN} 4 1"), what="the first check after it")
    assert _observed(router) == before


def _observed(router: HaproxyRouter) -> Routing:
    """Return what the router observes but for its open requests: the last one is open until HAProxy has logged it."""
    routing = router.observe()
    return replace(routing, members=tuple(replace(member, open_requests=0) for member in routing.members))


def test_reload_costs_no_request_but_on_a_connection_that_it_closes(haproxy: Haproxy, router: HaproxyRouter) -> None:
    router.shift({"blue": 50, "green": 50})
    with load(haproxy.port, ("GET", "/"), ("POST", "/"), ("GET", "/slow?0.2")) as kept:
        for _ in range(3):
            kept.wait_for(20)
            haproxy.reload()
            assert {haproxy.get()[0] for _ in range(20)} == {200}
    assert [failure for failure in kept.failures if "RemoteDisconnected" not in failure] == []


def test_drained_and_failing_members_do_not_come_back_with_a_restart(
    haproxy: Haproxy, router: HaproxyRouter, pool: tuple[Backend, ...]
) -> None:
    router.drain("blue", [0], 5.0)
    with pytest.raises(Retryable):
        haproxy.router(up_within="200ms").admit([pool[2].endpoint("blue", 1, "/absent")])
    haproxy.restart()
    assert states(router)["green0"] == IN_AND_UP
    assert {slot for slot, state in states(router).items() if state[0] is Admission.IN} == {"green0"}
    assert haproxy.answers() == {"green0"}


def test_member_stays_draining_when_haproxy_is_restarted_in_the_middle_of_a_drain(
    haproxy: Haproxy, router: HaproxyRouter
) -> None:
    with relay(haproxy, lambda asked: "" if "state maint" in asked else None) as socket, pytest.raises(Retryable):
        haproxy.router(socket=socket).drain("blue", [0], 5.0)
    haproxy.restart()
    assert states(router) == {"blue0": (Admission.DRAINING, True), "green0": IN_AND_UP}
    assert router.drain("blue", [0], 5.0) == 0
    assert states(router) == {"green0": IN_AND_UP}


def test_drift_made_by_hand_is_seen_and_persisted_by_the_next_shift(haproxy: Haproxy, router: HaproxyRouter) -> None:
    share_map = haproxy.state / "campus_production.map"
    haproxy.command(f"set map {share_map} green 40000")
    observed = router.observe()
    assert (observed.weights, observed.persisted) == ({"blue": 60, "green": 40}, False)
    router.shift({"blue": 100})
    assert (router.observe().weights, router.observe().persisted) == ({"blue": 100, "green": 0}, True)


@pytest.mark.parametrize(
    ("by_hand", "seen"),
    [
        (f"set server {GREEN}/s0 state maint", None),
        (f"set server {GREEN}/s0 state drain", Admission.DRAINING),
        (f"set server {GREEN}/s0 weight 0", Admission.DRAINING),
        (f"set server {GREEN}/s0 addr 127.0.0.1 port 9", Admission.IN),
    ],
)
def test_member_changed_by_hand_is_seen_and_put_right_by_admitting_it(
    haproxy: Haproxy,
    router: HaproxyRouter,
    pool: tuple[Backend, ...],
    by_hand: str,
    seen: Admission | None,
) -> None:
    before = router.observe()
    haproxy.command(by_hand)
    observed = router.observe()
    assert not observed.persisted
    # Whether it is up is not asked: HAProxy may have checked the new address by now, or not yet.
    assert {m.admission for m in observed.members if m.slot == "green"} == ({seen} if seen else set())
    router.admit([pool[1].endpoint("green", 0)])
    wait_until(lambda: router.observe() == before, what="the former state")
    router.shift({"green": 100})
    assert haproxy.answers() == {"green0"}


@pytest.mark.parametrize("name", ["campus_production.map", "campus_production_health.map", f"{GREEN}.servers"])
@pytest.mark.parametrize("damage", ["gone", "garbage"])
def test_state_file_that_is_gone_or_damaged_is_seen_and_written_again(
    haproxy: Haproxy, router: HaproxyRouter, name: str, damage: str
) -> None:
    file = haproxy.state / name
    if damage == "gone":
        file.unlink()
    else:
        file.write_text("no such state\n")
    assert not router.observe().persisted
    router.shift({"blue": 100})
    assert router.observe().persisted


def test_share_that_makes_no_sense_is_unsafe_until_it_is_shifted_again(haproxy: Haproxy, router: HaproxyRouter) -> None:
    share_map = haproxy.state / "campus_production.map"
    for nonsense in ("200000", "-5"):
        haproxy.command(f"set map {share_map} green {nonsense}")
        with pytest.raises(Unsafe, match=nonsense):
            router.observe()
        router.shift({"blue": 100})
        assert router.observe().weights == {"blue": 100, "green": 0}
