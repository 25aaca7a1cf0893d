"""What users of the HAProxy router get, whatever it is told and whatever breaks."""

import httpx
import pytest

from blocks.routers.haproxy import HaproxyRouter
from tasks.common.errors import Retryable
from tasks.rollout.model import Admission
from tests.support.haproxy import (
    BLUE,
    IN_AND_UP,
    Backend,
    Haproxy,
    await_open,
    count_answers,
    load,
    open_requests,
    states,
)
from tests.support.processes import wait_until

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    ("green", "requests", "at_least", "at_most"),
    [(0.1, 30_000, 5, 75), (5, 6_000, 190, 420), (50, 4_000, 1_800, 2_200), (100, 1_000, 1_000, 1_000)],
)
def test_share_of_the_requests_is_the_weight(
    haproxy: Haproxy, router: HaproxyRouter, green: float, requests: int, at_least: int, at_most: int
) -> None:
    """The bounds are more than four standard deviations away: fewer than one run in ten thousand fails by chance."""
    router.shift({"blue": round(100 - green, 3), "green": green})
    assert f"green {green * 1000:.0f}" in (haproxy.state / "campus_production.map").read_text().splitlines()
    counted = count_answers(haproxy.port, requests)
    assert counted.total() == requests
    assert at_least <= counted["green"] <= at_most


def test_no_request_fails_over_100_shifts_under_load(haproxy: Haproxy, router: HaproxyRouter) -> None:
    quick = [("GET", "/"), ("POST", "/"), ("GET", "/"), ("PUT", "/")]
    slow = [("GET", "/slow?0.3"), ("POST", "/slow?0.3"), ("GET", "/slow?2")]
    with load(haproxy.port, *quick, *slow) as clients:
        for n in range(100):
            green = (0.1, 5, 50, 100, 0)[n % 5]
            router.shift({"blue": round(100 - green, 3), "green": green})
            clients.wait_for(5)
    assert clients.failures == []
    assert clients.by_name.keys() == {"blue0", "green0"}
    assert clients.answered >= 500


def test_before_the_first_release_users_are_told_so(haproxy: Haproxy, pool: tuple[Backend, ...]) -> None:
    told = (503, "no release of campus serves production yet\n")
    assert haproxy.get() == told
    haproxy.router().admit([pool[0].endpoint("blue", 0)])
    assert haproxy.get() == told


def test_users_are_told_when_no_instance_is_up_in_either_slot(
    haproxy: Haproxy, router: HaproxyRouter, pool: tuple[Backend, ...]
) -> None:
    pool[0].kill()
    pool[1].kill()
    wait_until(lambda: haproxy.get() == (503, "no instance of campus is up in production\n"), what="the answer")
    assert {up for _, up in states(router).values()} == {False}


def test_instance_that_is_not_ready_never_gets_a_request_while_it_is_admitted(
    haproxy: Haproxy, router: HaproxyRouter, pool: tuple[Backend, ...]
) -> None:
    late = pool[2]
    late.fail_readiness()
    wait_until(lambda: httpx.get(f"http://{late.address}/ready").status_code == 503, what="the failing probe")
    with load(haproxy.port, ("GET", "/"), ("GET", "/")) as clients:
        with pytest.raises(Retryable) as failure:
            haproxy.router(up_within="1s").admit([late.endpoint("blue", 1)])
        clients.wait_for(50)
    assert "blue1" not in clients.by_name
    assert f"{late.address}/ready: L7STS/503" in str(failure.value)
    assert states(router)["blue1"] == (Admission.DRAINING, False)
    late.fail_readiness(False)
    router.admit([late.endpoint("blue", 1)])
    wait_until(lambda: "blue1" in haproxy.answers(), what="its first request")


def test_readiness_path_of_the_endpoint_is_what_is_checked(haproxy: Haproxy, pool: tuple[Backend, ...]) -> None:
    router = haproxy.router(up_within="500ms")
    with pytest.raises(Retryable, match="L7STS/404"):
        router.admit([pool[0].endpoint("blue", 0, "/absent")])
    router.admit([pool[0].endpoint("blue", 0, "/ready")])
    assert states(router) == {"blue0": IN_AND_UP}
    with pytest.raises(Retryable, match="L7STS/404"):
        router.admit([pool[0].endpoint("blue", 0, "/absent")])


def test_instance_whose_readiness_fails_loses_its_traffic_to_the_other_slot(
    haproxy: Haproxy, router: HaproxyRouter, pool: tuple[Backend, ...]
) -> None:
    router.shift({"green": 100})
    with load(haproxy.port, ("GET", "/"), ("POST", "/")) as clients:
        pool[1].fail_readiness()
        wait_until(lambda: not states(router)["green0"][1], what="the failing check")
        assert haproxy.answers() == {"blue0"}
    assert clients.failures == []
    assert router.observe().weights == {"blue": 0, "green": 100}


def test_other_slot_serves_when_an_instance_is_killed_at_50_percent(
    haproxy: Haproxy, router: HaproxyRouter, pool: tuple[Backend, ...]
) -> None:
    router.shift({"blue": 50, "green": 50})
    assert haproxy.answers() == {"blue0", "green0"}
    pool[1].kill()
    wait_until(lambda: not states(router)["green0"][1], what="the failing check")
    assert count_answers(haproxy.port, 500) == {"blue": 500}


def test_no_get_fails_when_one_of_two_instances_of_a_slot_is_killed(
    haproxy: Haproxy, router: HaproxyRouter, pool: tuple[Backend, ...]
) -> None:
    router.admit([pool[2].endpoint("blue", 1)])
    with load(haproxy.port, *[("GET", "/")] * 4, *[("GET", "/slow?0.2")] * 4) as clients:
        wait_until(lambda: {"blue0", "blue1"} <= clients.by_name.keys(), what="traffic on both")
        pool[2].kill()
        wait_until(lambda: not states(router)["blue1"][1], what="the failing check")
        clients.wait_for(50)
    assert clients.failures == []


def test_request_that_broke_off_is_sent_again_only_if_that_does_no_harm(
    haproxy: Haproxy, router: HaproxyRouter
) -> None:
    assert haproxy.get("/drop?get")[0] == 502
    assert haproxy.get("/dropped?get")[1] == "4"
    assert haproxy.get("/drop?post", "POST")[0] == 502
    assert haproxy.get("/dropped?post")[1] == "1"


def test_drain_lets_open_requests_finish(haproxy: Haproxy, router: HaproxyRouter) -> None:
    with open_requests(haproxy, "/slow?1", 3) as came_back:
        await_open(router, "blue", 3)
        router.shift({"green": 100})
        assert router.drain("blue", [0], 20.0) == 0
    assert came_back == ["200 blue0"] * 3
    assert states(router) == {"green0": IN_AND_UP}


def test_drain_cuts_what_outlives_its_timeout(haproxy: Haproxy, router: HaproxyRouter) -> None:
    with open_requests(haproxy, "/slow?600", 2) as came_back:
        await_open(router, "blue", 2)
        assert router.drain("blue", [0], 0.3) == 2
    assert [answer for answer in came_back if answer.startswith("200")] == []
    assert len(came_back) == 2


def test_no_new_request_reaches_a_draining_member(
    haproxy: Haproxy, router: HaproxyRouter, pool: tuple[Backend, ...]
) -> None:
    router.admit([pool[2].endpoint("blue", 1)])
    haproxy.command(f"set server {BLUE}/s1 state drain")
    assert haproxy.answers() == {"blue0"}
    assert states(router)["blue1"] == (Admission.DRAINING, True)
