"""A cluster, a door and a DNS in memory, for dry runs and tests: they change a world, and nothing outside."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from blocks.context import Context
from blocks.fence import held, refuse_older
from blocks.memory.world import MemorySite, MemoryWorld, fits, opened
from tasks.common.errors import Refused, Retryable
from tasks.common.model import StrictModel
from tasks.common.sites import Answer, Cluster, ClusterRole, Door, Node, NodeRole, NodeState, Upstream


class _Settings(StrictModel):
    world: str = Field(default="", description="drivers of the same world see the same sites")
    journal: str | None = Field(default=None, description="file that the world is kept in; without it: the process")


class _SiteSettings(_Settings):
    site: str = Field(min_length=1, description="region of the site")


class _Driver:
    def __init__(self, settings: _Settings, context: Context) -> None:
        self._name = settings.world
        self._journal: Path | None = context.resolve(settings.journal) if settings.journal else None
        self._grant = context.grant

    def _opened(self) -> AbstractContextManager[MemoryWorld]:
        return opened(self._name, self._journal)


class _OfSite(_Driver):
    """What a cluster and a door share.

    Args:
        settings: which world, and which site of it.
        context: with a grant, it may be changed.
    """

    def __init__(self, settings: _SiteSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._region = settings.site

    def _site(self, world: MemoryWorld) -> MemorySite:
        return world.sites[self._region]

    @contextmanager
    def _changing(self, change: str) -> Iterator[tuple[MemoryWorld, MemorySite]]:
        token = held(self._grant, self._region).token
        with self._opened() as world:
            site = self._site(world)
            refuse_older(token, site.token, self._region)
            site.token = token
            yield world, site
            world.stream()
            world.changes.append(f"{self._region} {change}")


class MemoryCluster(_OfSite):
    """Implements `SiteCluster` over a world.

    Args:
        settings: which world, and which site of it.
        context: with a grant, it may be changed.
    """

    class Settings(_SiteSettings):
        """Settings of the driver `memory`."""

    @property
    def where(self) -> str:
        """Return which cluster it is."""
        return f"the cluster of {self._region} in memory"

    def observe(self) -> Cluster:
        """Return the cluster as it is now.

        Raises:
            Retryable: it does not answer.
        """
        with self._opened() as world:
            site = self._site(world)
            self._must_answer(site)
            return _seen(self._region, site, world)

    def switch_over(self, to: str) -> None:
        """The node leads. *Idempotent:* yes.

        Raises:
            Refused: no such node.
            Retryable: it does not answer.
        """
        self._lead(to, "switched over")

    def fail_over(self, to: str = "") -> None:
        """Another node leads, if the leader does not work. *Idempotent:* yes.

        Raises:
            Refused: no such node, or no other one.
            Retryable: it does not answer.
        """
        if self.observe().serves and not to:
            return
        self._lead(to, "failed over")

    def fence(self) -> None:
        """Nobody of it takes writes, and it follows nobody. *Idempotent:* yes.

        Raises:
            Retryable: it does not answer.
        """
        with self._changing("fenced") as (_, site):
            self._must_answer(site)
            site.role, site.follows = ClusterRole.FENCED.value, ""

    def promote(self) -> None:
        """It takes writes, on a timeline of its own. *Idempotent:* yes; a primary is left alone.

        Raises:
            Refused: it does not run.
            Retryable: it does not answer.
        """
        with self._changing("promoted") as (world, site):
            self._must_answer(site)
            if not site.running:
                raise Refused("no node is fit to lead", on=self.where, next_action="start the database")
            if site.role == ClusterRole.PRIMARY:
                return
            newest = max(each.timeline for each in world.sites.values() if each.system_id == site.system_id)
            site.parted.append([site.timeline, site.lsn])
            site.timeline, site.role, site.follows = newest + 1, ClusterRole.PRIMARY.value, ""

    def follow(self, source: Upstream, *, rebuild: bool = False) -> None:
        """It follows the source; what only it has is thrown away if `rebuild` says so. *Idempotent:* yes.

        Raises:
            Refused: other data, or histories that have parted, and no `rebuild`.
            Retryable: one of the two does not answer.
        """
        with self._changing(f"follows {source.site}") as (world, site):
            self._must_answer(site)
            other = world.followed(str(source))
            if other is None or not other.answers:
                raise Retryable("the source does not answer", on=str(source), next_action="look at it")
            site.role, site.follows = ClusterRole.FENCED.value, ""
            if site.system_id != source.system_id:
                raise Refused("the data is of another system", on=self.where, next_action="look what it is")
            if not fits(site, other):
                if not rebuild:
                    raise Refused(
                        "the histories have parted",
                        on=self.where,
                        state="it takes no writes",
                        next_action="rebuild it, if what only it has may be thrown away",
                    )
                site.timeline, site.lsn, site.written = other.timeline, other.lsn, list(other.written)
                site.parted = [list(each) for each in other.parted]
            site.role, site.follows, site.running = ClusterRole.STANDBY.value, str(source), True

    def _lead(self, to: str, how: str) -> None:
        with self._changing(how) as (_, site):
            self._must_answer(site)
            names = _names(self._region, site)
            others = [name for number, name in enumerate(names, 1) if number != site.leader]
            if to not in ("", *names) or not (to or others):
                raise Refused(
                    f"no node {to!r} could lead", on=self.where, next_action=f"name one of: {', '.join(names)}"
                )
            site.leader, site.running = names.index(to or others[0]) + 1, True

    def _must_answer(self, site: MemorySite) -> None:
        if not site.answers:
            raise Retryable("the cluster does not answer", on=self.where, next_action="look at the site")


class MemoryDoor(_OfSite):
    """Implements `SiteDoor` over a world.

    Args:
        settings: which world, and which site of it.
        context: with a grant, it may be changed.
    """

    class Settings(_SiteSettings):
        """Settings of the driver `memory`."""

    @property
    def where(self) -> str:
        """Return which door it is."""
        return f"the door of {self._region} in memory"

    def observe(self) -> Door:
        """Return whether it is open.

        Raises:
            Retryable: it does not answer.
        """
        with self._opened() as world:
            site = self._site(world)
            self._must_answer(site)
            if site.inside and not site.door_open:
                problem = f"nobody new gets in, but {site.inside} connections from before have not ended"
                return Door(None, problem=problem)
            return Door(site.door_open)

    def close(self) -> None:
        """No user gets in. *Idempotent:* yes.

        Raises:
            Retryable: it does not answer.
        """
        with self._changing("closed") as (_, site):
            self._must_answer(site)
            site.door_open, site.inside = False, 0

    def open(self) -> None:
        """Users get in. *Idempotent:* yes.

        Raises:
            Retryable: it does not answer.
        """
        with self._changing("opened") as (_, site):
            self._must_answer(site)
            site.door_open = True

    def _must_answer(self, site: MemorySite) -> None:
        if not site.door_answers:
            raise Retryable("the door does not answer", on=self.where, next_action="look at the router")


class MemoryDns(_Driver):
    """Implements `Dns` over a world; every name of the world is its.

    Args:
        settings: which world.
        context: with a grant, it may be changed.
    """

    class Settings(_Settings):
        """Settings of the driver `memory`."""

    def observe(self, name: str) -> Answer:
        """Return what is answered for the name.

        Raises:
            Retryable: it does not answer.
            Refused: the world has no such name.
        """
        with self._opened() as world:
            if not world.dns_answers:
                raise Retryable("the DNS server does not answer", on=name, next_action="look at it")
            if name not in world.names:
                raise Refused("the server has no such zone", on=name, next_action="check the name")
            addresses, ttl_s = world.names[name]
            return Answer(name, tuple(sorted(addresses)), ttl_s)

    def point(self, name: str, addresses: Sequence[str], ttl_s: int) -> None:
        """The name has these addresses. *Idempotent:* yes.

        Raises:
            Retryable: it does not answer, or takes no changes now.
            Refused: the world has no such name, or there is no address.
        """
        held(self._grant, name)
        with self._opened() as world:
            if not (world.dns_answers and world.dns_takes_changes):
                raise Retryable("the DNS server takes no changes", on=name, next_action="look at it")
            if name not in world.names or not addresses:
                raise Refused("no such zone, or no address", on=name, next_action="check the name")
            world.names[name] = (sorted(addresses), ttl_s)
            world.changes.append(f"{name} {' '.join(sorted(addresses))}")


def _names(region: str, site: MemorySite) -> list[str]:
    return [f"{region}-{number}" for number in range(1, site.nodes + 1)]


def _seen(region: str, site: MemorySite, world: MemoryWorld) -> Cluster:
    nodes = []
    for number, name in enumerate(_names(region, site), 1):
        leads = number == site.leader
        state = NodeState.RUNNING if site.running else NodeState.STOPPED
        writable = site.writable and leads if site.running else None
        nodes.append(
            Node(name, NodeRole.LEADER if leads else NodeRole.REPLICA, state, writable, site.timeline, site.lsn)
        )
    standby, source = site.role == ClusterRole.STANDBY, world.followed(site.follows)
    streaming = standby and source is not None and source.answers and source.running and fits(site, source)
    behind = source.lsn - site.lsn if streaming and source is not None else None
    now = datetime.now(UTC)
    return Cluster(
        name=region,
        role=ClusterRole(site.role),
        system_id=site.system_id,
        nodes=tuple(nodes),
        seen_at=now,
        follows=site.follows,
        streaming=streaming,
        lag_bytes=behind,
        lag_s=None if not standby else 0.0 if behind == 0 else 1.0,
        replayed_at=now if standby else None,
    )
