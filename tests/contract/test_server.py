"""What every `Server` keeps: a real Prefect server, and the one in memory."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from blocks.memory.server import MemoryServer
from tasks.server.model import Kind, Resource
from tasks.server.plan import plan
from tasks.server.ports import Server
from tasks.server.wanted import wanted
from tests.support.prefect_server import flows_of
from tests.support.server import FLOWS, NIGHTLY, estate

WANTED = wanted(FLOWS, estate(schedules={"nightly": NIGHTLY}))


@pytest.fixture(params=["memory", pytest.param("prefect", marks=pytest.mark.server)])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "memory":
        yield MemoryServer()
        return
    from blocks.server import PrefectServer

    with flows_of(request.getfixturevalue("prefect_api")):
        real = PrefectServer()
        yield real
        for resource in reversed(real.observe()):
            if resource.kind is not Kind.POOL:
                real.remove(resource)


def make_all(server: Server) -> None:
    for change in plan(WANTED, server.observe()).changes:
        server.make(change.resource)


def changed(resource: Resource) -> Resource:
    """Return the resource with something else wanted of it."""
    other = {
        Kind.BLOCK: {"url": "http://127.0.0.1:9/alarms"},
        Kind.DEPLOYMENT: {"description": "Another.", "limit": {"limit": 2, **_QUEUED}, "parameters": {"request": {}}},
        Kind.AUTOMATION: {"description": "Another."},
    }
    return replace(resource, spec={**resource.spec, **other[resource.kind]})


_QUEUED = {"collision_strategy": "ENQUEUE", "grace_period_seconds": 120}
CHANGEABLE = [each for each in WANTED if each.kind is not Kind.POOL]


def test_what_was_made_is_found_as_it_was_said(server: Server) -> None:
    make_all(server)
    assert plan(WANTED, server.observe()).changes == ()


def test_making_it_twice_makes_nothing_more(server: Server) -> None:
    make_all(server)
    for resource in WANTED:
        if resource.kind is not Kind.AUTOMATION:
            server.make(resource)
    assert plan(WANTED, server.observe()).changes == ()


def test_what_was_changed_is_found_so_and_can_be_changed_back(server: Server) -> None:
    make_all(server)
    for resource in CHANGEABLE:
        server.change(changed(resource))
    assert {change.resource for change in plan(WANTED, server.observe()).changes} == set(CHANGEABLE)
    for resource in CHANGEABLE:
        server.change(resource)
        server.change(resource)
    assert plan(WANTED, server.observe()).changes == ()


def test_schedules_are_added_changed_and_taken_away(server: Server) -> None:
    make_all(server)
    nightly = next(each for each in WANTED if each.name == "release/nightly")
    for schedules in ({"nightly": {"interval": 3600.0}}, {}, {"weekly": {"cron": "0 3 * * 0", "timezone": "UTC"}}):
        goal = [replace(e, spec={**e.spec, "schedules": schedules}) if e == nightly else e for e in WANTED]
        for change in plan(goal, server.observe()).changes:
            server.change(change.resource)
        assert plan(goal, server.observe()).changes == ()


def test_what_was_removed_is_gone_and_may_be_removed_again(server: Server) -> None:
    make_all(server)
    for resource in reversed(CHANGEABLE):
        server.remove(resource)
        server.remove(resource)
    assert {each.kind for each in server.observe()} <= {Kind.POOL}
