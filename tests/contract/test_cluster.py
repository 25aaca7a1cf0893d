"""What every cluster of a site must do, whichever manages it: two sites, A takes writes and B follows it."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.sites import MemoryCluster
from blocks.memory.world import MemorySite, MemoryWorld
from tasks.common.errors import Refused, Retryable
from tasks.common.lease import Grant, LeaseLost
from tasks.common.sites import ClusterRole, NodeRole, Upstream
from tasks.failover.ports import SiteCluster
from tests.support.grants import DEFAULT, lost
from tests.support.processes import short_folder, wait_until
from tests.support.sites import Sites, running_sites


@dataclass(frozen=True)
class World:
    """Two clusters under test, and what can go wrong.

    Args:
        a: takes writes at first.
        b: follows A at first.
        under: A, opened with another grant.
        upstream: how a site is followed.
        write: something is written at a site that takes writes.
        silence: nothing of A answers any more.
    """

    a: SiteCluster
    b: SiteCluster
    under: Callable[[Grant | None], SiteCluster]
    upstream: Callable[[str], Upstream]
    write: Callable[[str], None]
    silence: Callable[[], None]

    def caught_up(self) -> bool:
        """Return whether neither has what the other one has not."""
        return self.a.observe().lsn == self.b.observe().lsn


@pytest.fixture(scope="module")
def both_sites() -> Iterator[Sites]:
    with short_folder() as folder, running_sites(folder) as sites:
        yield sites


@pytest.fixture(
    params=[
        "memory",
        pytest.param("patroni", marks=[pytest.mark.server, pytest.mark.slow, pytest.mark.long]),
    ]
)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield _memory(tmp_path)
        return
    sites: Sites = request.getfixturevalue("both_sites")
    if not sites.is_whole():
        sites.lab.down()
        sites.lab.up(lambda _: None)
    with contextlib.ExitStack() as mending:
        yield _patroni(sites, mending)


def _memory(folder: Path) -> World:
    name = uuid.uuid4().hex
    made = MemoryWorld.worlds[name] = MemoryWorld()
    made.sites["a"] = MemorySite("a:5432", ClusterRole.PRIMARY, nodes=3, door_open=True, lsn=100)
    made.sites["b"] = MemorySite("b:5432", ClusterRole.STANDBY, follows="a:5432", nodes=2, door_open=True)

    def opened(site: str, grant: Grant | None = DEFAULT) -> SiteCluster:
        return MemoryCluster(MemoryCluster.Settings(world=name, site=site), Context(folder, grant=grant))

    def silence() -> None:
        made.sites["a"].answers = False

    return World(
        opened("a"),
        opened("b"),
        lambda grant: opened("a", grant),
        lambda site: Upstream(site, site, 5432, "1"),
        lambda site: _require(made.write(site, uuid.uuid4().hex)),
        silence,
    )


def _patroni(sites: Sites, mending: contextlib.ExitStack) -> World:
    def silence() -> None:
        mending.callback(sites.lab.network.plug_in_site, "a")
        sites.lab.network.unplug_site("a")

    return World(
        sites.cluster("a"),
        sites.cluster("b"),
        lambda grant: sites.cluster("a", grant=grant),
        sites.upstream,
        sites.write,
        silence,
    )


def _require(done: bool) -> None:
    assert done


def _other(cluster: SiteCluster) -> str:
    """Return a member that could take the leader's place: a synchronous one, where there is any."""

    def find() -> str:
        seen = cluster.observe()
        nodes = sorted(seen.nodes, key=lambda node: not node.synchronous)
        return next((node.name for node in nodes if node.role is NodeRole.REPLICA and node.writable is False), "")

    return wait_until(find, what="a member that can lead")


def test_one_site_takes_writes_and_the_other_one_follows_it(world: World) -> None:
    a, b = world.a.observe(), world.b.observe()
    assert (a.role, b.role) == (ClusterRole.PRIMARY, ClusterRole.STANDBY)
    assert len(a.writable) == 1 and a.leader is not None and a.leader.writable
    assert b.stopped_writing and b.streaming
    assert a.system_id == b.system_id != ""
    upstream = world.upstream("a")
    assert b.follows == f"{upstream.host}:{upstream.port}"
    assert not a.follows and not a.streaming
    assert {node.name for node in a.nodes}.isdisjoint(node.name for node in b.nodes)


def test_what_is_written_arrives_at_the_site_that_follows(world: World) -> None:
    before = world.b.observe().lsn
    world.write("a")
    wait_until(world.caught_up, what="site B to have it")
    seen = world.b.observe()
    assert before is not None and seen.lsn is not None and seen.lsn > before
    wait_until(lambda: world.b.observe().lag_bytes == 0, what="no lag")


def test_member_that_is_switched_over_to_leads(world: World) -> None:
    to = _other(world.a)
    for _ in range(2):
        world.a.switch_over(to)
        leader = world.a.observe().leader
        assert leader is not None and leader.name == to
    wait_until(lambda: world.b.observe().streaming, what="site B to follow the new leader")


def test_member_that_is_none_of_the_cluster_leads_nothing(world: World) -> None:
    before = world.a.observe().leader
    with pytest.raises(Refused):
        world.a.switch_over("nobody")
    with pytest.raises(Refused):
        world.a.fail_over("nobody")
    after = world.a.observe().leader
    assert before is not None and after is not None and before.name == after.name


def test_leader_that_works_is_left_alone_by_a_failover(world: World) -> None:
    before = world.a.observe().leader
    world.a.fail_over()
    after = world.a.observe().leader
    assert before is not None and after is not None and before.name == after.name


def test_fenced_cluster_takes_no_writes_and_follows_nobody(world: World) -> None:
    for _ in range(2):
        world.a.fence()
        seen = world.a.observe()
        assert seen.role is ClusterRole.FENCED and seen.stopped_writing and not seen.follows


def test_fenced_cluster_that_is_promoted_takes_writes_on_a_new_timeline(world: World) -> None:
    before = world.a.observe().timeline
    world.a.fence()
    for _ in range(2):
        world.a.promote()
        seen = world.a.observe()
        assert seen.role is ClusterRole.PRIMARY and len(seen.writable) == 1
    after = world.a.observe().timeline
    assert before is not None and after is not None and after > before


def test_sites_change_places_and_change_back_without_a_loss(world: World) -> None:
    for old, new, name in ((world.a, world.b, "b"), (world.b, world.a, "a")):
        old.fence()
        wait_until(world.caught_up, what="the other site to have all")
        new.promote()
        old.follow(world.upstream(name))
        seen = old.observe()
        assert seen.role is ClusterRole.STANDBY and seen.streaming and not seen.writable
        # Patroni may start a replica anew after the leader follows: meanwhile that one does not say.
        wait_until(lambda old=old: old.observe().stopped_writing, what="all nodes to say that they take no writes")  # type: ignore[misc]
        assert len(new.observe().writable) == 1
        world.write(name)
        wait_until(world.caught_up, what="what is written at the new site")


def test_histories_that_have_parted_are_not_followed_unless_one_is_thrown_away(world: World) -> None:
    world.b.fence()
    world.write("a")
    world.b.promote()
    world.write("b")
    with pytest.raises(Refused, match="parted"):
        world.a.follow(world.upstream("b"))
    assert world.a.observe().stopped_writing
    world.a.follow(world.upstream("b"), rebuild=True)
    wait_until(world.caught_up, what="site A to be as site B is")
    assert world.a.observe().role is ClusterRole.STANDBY


def test_data_of_another_system_is_never_followed(world: World) -> None:
    with pytest.raises(Refused):
        world.b.follow(replace(world.upstream("a"), system_id="2"), rebuild=True)


def test_nothing_is_changed_without_a_lease(world: World) -> None:
    with pytest.raises(Refused):
        world.under(None).fence()
    with pytest.raises(LeaseLost):
        world.under(lost()).fence()
    assert world.a.observe().role is ClusterRole.PRIMARY


def test_cluster_that_does_not_answer_is_not_taken_for_fenced(world: World) -> None:
    world.silence()
    with pytest.raises(Retryable):
        world.a.observe()
