"""Sites in memory: what their databases, doors and names would do, for dry runs and tests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from blocks.files import replacing
from tasks.common.sites import ClusterRole


@dataclass
class MemorySite:
    """One site's database and door.

    Args:
        at: 'host:port' where it is followed.
        role: of the database.
        follows: 'host:port' that it follows; '' where it follows nobody.
        system_id: of its data.
        timeline: of its history.
        lsn: how far it has written or received.
        parted: where each newer timeline began, by the timeline before: [[1, 300], [2, 500]].
        nodes: how many the cluster has.
        leader: number of the one that leads.
        answers: whether database and what manages it can be reached by us.
        running: whether the database works.
        door_open: whether users get in.
        inside: how many connections of theirs have outlasted a closed door.
        door_answers: whether the door can be reached by us.
        keeps_up: whether it receives what the followed site writes at once.
        written: ids of the writes that it has, in order.
        token: the newest lease that has changed it.
    """

    at: str
    role: str = ClusterRole.FENCED.value
    follows: str = ""
    system_id: str = "1"
    timeline: int = 1
    lsn: int = 0
    parted: list[list[int]] = field(default_factory=list)
    nodes: int = 1
    leader: int = 1
    answers: bool = True
    running: bool = True
    door_open: bool = False
    inside: int = 0
    door_answers: bool = True
    keeps_up: bool = True
    written: list[str] = field(default_factory=list)
    token: int = 0

    @property
    def writable(self) -> bool:
        """Return whether it takes writes."""
        return self.role == ClusterRole.PRIMARY and self.running

    def history_until(self, timeline: int) -> int | None:
        """Return where the timeline has ended in this site's history; None where it goes on, or never was in it."""
        return next((end for before, end in self.parted if before == timeline), None)


@dataclass
class MemoryWorld:
    """Sites by region, and names with their addresses."""

    sites: dict[str, MemorySite] = field(default_factory=dict)
    names: dict[str, tuple[list[str], int]] = field(default_factory=dict)
    dns_answers: bool = True
    dns_takes_changes: bool = True
    changes: list[str] = field(default_factory=list)
    """What was changed, in order."""

    worlds: ClassVar[dict[str, "MemoryWorld"]] = {}
    """Those that are kept for as long as the process lives, by name."""

    def followed(self, at: str) -> MemorySite | None:
        """Return the site that is followed there."""
        return next((site for site in self.sites.values() if site.at == at), None)

    def stream(self) -> None:
        """Every standby that keeps up has what the site that it follows has written, unless the histories parted."""
        for site in self.sites.values():
            source = self.followed(site.follows)
            reachable = source is not None and source.answers and source.running and site.answers and site.keeps_up
            if source is None or not reachable or not site.running or not fits(site, source):
                continue
            site.timeline, site.parted = source.timeline, [list(each) for each in source.parted]
            site.lsn, site.written = source.lsn, list(source.written)

    def write(self, region: str, write_id: str) -> bool:
        """A user's write reaches the site; returns whether it was acknowledged. For tests.

        *Idempotent:* no.
        """
        site = self.sites[region]
        if not (site.writable and site.door_open):
            return False
        site.lsn += 100
        site.written.append(write_id)
        return True

    def takers(self) -> list[str]:
        """Return the regions where a user's write would be taken: more than one is what must never be."""
        return [name for name, site in self.sites.items() if site.writable and site.door_open]


def fits(site: MemorySite, source: MemorySite) -> bool:
    """Return whether the source's history has all that the site has: it can follow without losing anything."""
    if site.system_id != source.system_id:
        return False
    if site.timeline == source.timeline:
        return site.lsn <= source.lsn
    ended = source.history_until(site.timeline)
    return ended is not None and site.lsn <= ended


@contextmanager
def opened(name: str, journal: Path | None) -> Iterator[MemoryWorld]:
    """The world may be changed within the block; one with a journal is in the file afterwards, whole.

    Args:
        name: of a world that lasts as long as the process.
        journal: file of one that lasts longer; None for the others.
    """
    if journal is None:
        world = MemoryWorld.worlds.setdefault(name, MemoryWorld())
        world.stream()
        yield world
        return
    found = json.loads(journal.read_text("utf-8"))
    world = MemoryWorld(
        {region: MemorySite(**site) for region, site in found.pop("sites").items()},
        {key: (list(addresses), ttl_s) for key, (addresses, ttl_s) in found.pop("names").items()},
        **found,
    )
    world.stream()
    yield world
    keep(world, journal)


def keep(world: MemoryWorld, journal: Path) -> None:
    """The world is in the file. *Idempotent:* yes."""
    with replacing(journal) as file:
        file.write(json.dumps(asdict(world)).encode())
