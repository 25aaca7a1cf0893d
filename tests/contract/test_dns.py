"""What every DNS of the names that users ask for must do, whichever it is."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from blocks.context import Context
from blocks.dns.powerdns import PowerDns
from blocks.dns.route53 import Route53Dns
from blocks.memory.sites import MemoryDns
from blocks.memory.world import MemoryWorld
from tasks.common.errors import Refused, Retryable
from tasks.common.lease import Grant, LeaseLost
from tasks.common.sites import Answer
from tasks.failover.ports import Dns
from tests.support.grants import DEFAULT, lost
from tests.support.powerdns import ZONE, running_powerdns
from tests.support.processes import short_folder
from tests.support.s3 import running_moto

NAME = "db.campus.test"


@dataclass(frozen=True)
class World:
    """A DNS under test, the same one opened with another grant, and what can go wrong."""

    dns: Dns
    under: Callable[[Grant | None], Dns]
    silence: Callable[[], None]


@pytest.fixture(
    params=[
        "memory",
        pytest.param("powerdns", marks=pytest.mark.server),
        pytest.param("route53-as-moto-fakes-it", marks=pytest.mark.server),
    ]
)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield _memory(tmp_path)
        return
    with short_folder() as folder, contextlib.ExitStack() as servers:
        made = _powerdns if request.param == "powerdns" else _route53
        opened = made(folder, servers)
        yield World(opened(DEFAULT), opened, servers.close)


def _powerdns(folder: Path, servers: contextlib.ExitStack) -> Callable[[Grant | None], Dns]:
    server = servers.enter_context(running_powerdns(folder))
    settings = PowerDns.Settings.model_validate(server.settings())
    return lambda grant: PowerDns(settings, Context(folder, grant=grant))


def _route53(folder: Path, servers: contextlib.ExitStack) -> Callable[[Grant | None], Dns]:
    moto = servers.enter_context(running_moto(folder))
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.session.Session().client("route53", endpoint_url=moto.endpoint, region_name="us-east-1", **keys)
    zone = client.create_hosted_zone(Name=f"{ZONE}.", CallerReference="test")["HostedZone"]["Id"].rpartition("/")[2]
    (folder / "key").write_text("test")
    settings = Route53Dns.Settings(
        endpoint=moto.endpoint, access_key="file:key", secret_key="file:key", zone_id=zone, zone=ZONE
    )
    return lambda grant: Route53Dns(settings, Context(folder, grant=grant))


def _memory(folder: Path) -> World:
    name = uuid.uuid4().hex
    made = MemoryWorld.worlds[name] = MemoryWorld(names={NAME: ([], 60)})

    def opened(grant: Grant | None) -> Dns:
        return MemoryDns(MemoryDns.Settings(world=name), Context(folder, grant=grant))

    def silence() -> None:
        made.dns_answers = False

    return World(opened(DEFAULT), opened, silence)


def test_name_is_answered_with_the_addresses_that_it_was_pointed_at(world: World) -> None:
    world.dns.point(NAME, ["10.1.0.1"], 5)
    assert world.dns.observe(NAME) == Answer(NAME, ("10.1.0.1",), 5)


def test_name_that_is_pointed_elsewhere_has_no_address_of_before(world: World) -> None:
    world.dns.point(NAME, ["10.1.0.1", "fd00::1"], 5)
    world.dns.point(NAME, ["10.2.0.2", "10.2.0.1"], 7)
    assert world.dns.observe(NAME) == Answer(NAME, ("10.2.0.1", "10.2.0.2"), 7)


def test_pointing_twice_is_pointing_once(world: World) -> None:
    for _ in range(2):
        world.dns.point(NAME, ["10.1.0.1"], 5)
    assert world.dns.observe(NAME) == Answer(NAME, ("10.1.0.1",), 5)


def test_name_of_another_zone_is_refused(world: World) -> None:
    world.dns.point(NAME, ["10.1.0.1"], 5)
    with pytest.raises(Refused):
        world.dns.observe("db.example.org")
    with pytest.raises(Refused):
        world.dns.point("db.example.org", ["10.1.0.1"], 5)


def test_pointing_at_nothing_is_refused_and_changes_nothing(world: World) -> None:
    world.dns.point(NAME, ["10.1.0.1"], 5)
    with pytest.raises(Refused):
        world.dns.point(NAME, [], 5)
    assert world.dns.observe(NAME).addresses == ("10.1.0.1",)


def test_nothing_is_changed_without_a_lease(world: World) -> None:
    world.dns.point(NAME, ["10.1.0.1"], 5)
    with pytest.raises(Refused):
        world.under(None).point(NAME, ["10.2.0.1"], 5)
    with pytest.raises(LeaseLost):
        world.under(lost()).point(NAME, ["10.2.0.1"], 5)
    assert world.dns.observe(NAME).addresses == ("10.1.0.1",)


def test_server_that_is_away_may_be_asked_again(world: World) -> None:
    world.dns.point(NAME, ["10.1.0.1"], 5)
    world.silence()
    with pytest.raises(Retryable):
        world.dns.observe(NAME)
    with pytest.raises(Retryable):
        world.dns.point(NAME, ["10.2.0.1"], 5)
