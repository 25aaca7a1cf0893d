"""What every visitor of a service must do: it goes to the address that it is given, and asks for the name."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from blocks.context import Context
from blocks.memory.visitor import MemoryVisitor
from blocks.memory.world import MemorySite, MemoryWorld
from blocks.visitor import HttpVisitor
from tasks.common.model import HttpCheck
from tasks.common.sites import ClusterRole
from tasks.failover.model import Visited
from tasks.failover.ports import Visitor
from tests.support.http_server import Request, answering, plain

NAME = "shop.example.test"
READY = HttpCheck(path="/health/ready", expect=200)
ORDERS = HttpCheck(path="/orders", expect=200, name="orders are shown")


@dataclass(frozen=True)
class World:
    """A visitor under test.

    Args:
        visitor: it.
        url: of the service, by its name: nothing resolves it.
        serving: address of a site that serves users.
        shut: address of one that lets nobody in.
        stop: the site that serves does so no more.
    """

    visitor: Visitor
    url: str
    serving: str
    shut: str
    stop: Callable[[], None]
    asked: list[str] = field(default_factory=list)

    def visit(self, address: str, *checks: HttpCheck) -> tuple[Visited, ...]:
        return self.visitor.visit(self.url, address, checks or (READY,))


@pytest.fixture(params=["memory", pytest.param("http", marks=pytest.mark.server)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as servers:
        yield _memory(tmp_path) if request.param == "memory" else _http(tmp_path, servers)


def _memory(folder: Path) -> World:
    name = uuid.uuid4().hex
    made = MemoryWorld.worlds[name] = MemoryWorld()
    made.sites["a"] = MemorySite("a:5432", ClusterRole.PRIMARY, door_open=True)
    made.sites["b"] = MemorySite("b:5432", ClusterRole.PRIMARY)
    settings = MemoryVisitor.Settings(world=name, addresses={"10.1.0.1": "a", "10.2.0.1": "b"})

    def stop() -> None:
        made.sites["a"].running = False

    return World(MemoryVisitor(settings, Context(folder)), f"http://{NAME}", "10.1.0.1", "10.2.0.1", stop)


def _http(folder: Path, servers: ExitStack) -> World:
    asked, status = list[str](), [200]

    def answer(request: Request) -> Iterable[bytes]:
        asked.append(f"{request.method} {request.headers['host'].partition(':')[0]} {request.path}")
        return plain(status[0])

    port = urlsplit(servers.enter_context(answering(answer))).port
    visitor = HttpVisitor(HttpVisitor.Settings(), Context(folder))

    def stop() -> None:
        status[0] = 503

    # Nothing listens at the second address on that port.
    return World(visitor, f"http://{NAME}:{port}", "127.0.0.1", "127.0.0.2", stop, asked)


def problems(visits: Sequence[Visited]) -> list[bool]:
    return [bool(each.problem) for each in visits]


def test_every_request_is_answered_where_users_are_served_in_the_order_that_was_asked(world: World) -> None:
    visits = world.visit(world.serving, ORDERS, READY)
    assert problems(visits) == [False, False]
    assert [each.label for each in visits] == [ORDERS.label, READY.label]
    assert all(each.took_s >= 0 for each in visits)
    assert world.asked in ([], [f"GET {NAME} /orders", f"GET {NAME} /health/ready"])


def test_site_that_lets_nobody_in_answers_nothing_though_another_one_serves(world: World) -> None:
    assert problems(world.visit(world.shut, READY, ORDERS)) == [True, True]


def test_address_that_is_nobodys_is_a_result_and_no_error(world: World) -> None:
    (visit,) = world.visit("127.0.0.3")
    assert visit.label == READY.label
    assert NAME in visit.problem


def test_site_that_stops_to_serve_is_seen_at_the_next_visit(world: World) -> None:
    assert problems(world.visit(world.serving)) == [False]
    world.stop()
    assert problems(world.visit(world.serving)) == [True]


def test_no_checks_are_no_visits(world: World) -> None:
    assert world.visitor.visit(world.url, world.serving, ()) == ()
