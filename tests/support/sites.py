"""The lab's two sites for tests, written to and watched by programs of their own."""

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from blocks import open_driver
from blocks.context import Context
from deployments.lab.sites import estate, texts
from deployments.lab.sites.content import DATABASE
from deployments.lab.sites.network import require_namespaces
from deployments.lab.sites.sites import SiteLab
from deployments.lab.sites.topology import DATABASE_NAME, DATABASE_PORT, LEADER_PORT, MEMBERS, WAN
from tasks.common.errors import Refused, Retryable
from tasks.common.lease import Grant
from tasks.common.model import DriverSpec
from tasks.common.sites import Cluster, Upstream
from tasks.failover.ports import Dns, SiteCluster, SiteDoor
from tests.support.grants import DEFAULT
from tests.support.needs import missing, need
from tests.support.processes import running, wait_until

NODES = tuple(itertools.chain.from_iterable(MEMBERS.values()))
_WHOLE_WITHIN_S = 240.0
_ANSWERS_WITHIN_S = 120.0


@dataclass(frozen=True)
class Write:
    """One row that a user wanted to have written."""

    id: int
    began: float
    ended: float
    outcome: str


class Sites:
    """The two sites, and their drivers as an estate would open them."""

    def __init__(self, lab: SiteLab) -> None:
        self.lab = lab
        self._writers = itertools.count()

    def cluster(self, site: str, *, grant: Grant | None = DEFAULT, **settings: object) -> SiteCluster:
        """Return the driver of a site's cluster, which may change it."""
        spec = {**estate.cluster(self.lab, site), **settings}
        return self._open("cluster", spec, grant)  # type: ignore[no-any-return]

    def door(self, site: str) -> SiteDoor:
        """Return the driver of a site's entrance."""
        return self._open("door", estate.door(self.lab, site))  # type: ignore[no-any-return]

    def dns(self) -> Dns:
        """Return the driver of the DNS server."""
        return self._open("dns", estate.dns(self.lab))  # type: ignore[no-any-return]

    def edge(self, site: str) -> str:
        """Return the address that users reach a site at."""
        return self.lab.address(f"edge-{site}", WAN)

    def upstream(self, site: str) -> Upstream:
        """Return a site as the other one follows it."""
        return Upstream(site, self.edge(site), LEADER_PORT, self.seen(site).system_id)

    def seen(self, site: str) -> Cluster:
        """Return a site's cluster as soon as it says something: on a busy machine nobody may answer in two seconds."""

        def look() -> Cluster | None:
            with contextlib.suppress(Retryable):
                return self.cluster(site).observe()
            return None

        found = wait_until(look, within_s=_ANSWERS_WITHIN_S, what=f"an answer of site {site}")
        assert found is not None
        return found

    def leader(self, site: str) -> str:
        """Return the name of the node that leads."""

        def find() -> str:
            leader = self.seen(site).leader
            return leader.name if leader is not None else ""

        return wait_until(find, within_s=_ANSWERS_WITHIN_S, what=f"a leader of site {site}")

    def is_whole(self) -> bool:
        """Return whether A takes writes, B follows it, and every node receives; a commit waits for a second node."""
        a, b = self.seen("a"), self.seen("b")
        nodes = (*a.nodes, *b.nodes)
        return (
            len(a.writable) == 1
            and b.stopped_writing
            and b.streaming
            and all(node.writable is not None for node in nodes)
            and len({node.timeline for node in nodes}) == 1
            and any(node.synchronous for node in a.nodes)
            and all(self.door(site).observe().open for site in MEMBERS)
        )

    def mend(self) -> None:
        """All hosts are on the network, and all servers run."""
        for host in self.lab.topology.hosts:
            self.lab.network.mend(host)
        for site in MEMBERS:
            self.lab.network.plug_in_site(site)
        for node in NODES:
            self.lab.start_host(node)

    def wait_whole(self) -> None:
        """The sites are as they were at the start, but for who leads in A."""
        try:
            wait_until(self.is_whole, within_s=_WHOLE_WITHIN_S, what="both sites whole again")
        except AssertionError as error:
            seen = [self.cluster(site).observe() for site in MEMBERS]
            raise AssertionError(f"{error}; seen: {seen}") from None

    def rows(self, site: str) -> set[int]:
        """Return the ids that the site's leader has."""
        with psycopg.connect(self.lab.dsn(self.leader(site))) as connection:
            return {row[0] for row in connection.execute("select id from written")}

    @contextlib.contextmanager
    def writing(self, folder: Path) -> Iterator["Writing"]:
        """Rows are written through DNS and HAProxy, from the client's host, for the length of a `with`."""
        turn = next(self._writers)
        log = folder / "writes.jsonl"
        program = [sys.executable, "-m", "tests.support.site_writer", str(log), str(turn * 10_000_000)]
        with psycopg.connect(self.lab.dsn(self.leader("a")), autocommit=True) as connection:
            connection.execute("create table if not exists written (id bigint primary key, at timestamptz)")
        env = {"WRITER_DSN": self.lab.dsn(DATABASE_NAME, DATABASE)}
        with running(self.lab.network.command("client", program), log=folder / "writer.log", env=env):
            writing = Writing(log)
            wait_until(lambda: len(writing.acknowledged()) > 20, within_s=_ANSWERS_WITHIN_S, what="the first writes")
            yield writing

    @contextlib.contextmanager
    def watching(self, folder: Path) -> Iterator["Watching"]:
        """Every node is asked on its own host whether it takes writes, for the length of a `with`."""
        address = make_conninfo(
            host="127.0.0.1",
            port=DATABASE_PORT,
            user=texts.OBSERVER,
            password=self.lab.secret(texts.OBSERVER),
            dbname="postgres",
        )
        with self._asking(folder, {node: (node, address) for node in NODES}) as watching:
            yield watching

    @contextlib.contextmanager
    def visiting(self, folder: Path) -> Iterator["Watching"]:
        """Every site is asked by its door, as users reach it, whether it takes writes, for the length of a `with`."""
        password = self.lab.secret(DATABASE)
        asked = {
            f"site-{site}": (
                "client",
                make_conninfo(
                    host=self.edge(site), port=DATABASE_PORT, user=DATABASE, password=password, dbname=DATABASE
                ),
            )
            for site in MEMBERS
        }
        with self._asking(folder, asked) as watching:
            yield watching

    @contextlib.contextmanager
    def _asking(self, folder: Path, asked: Mapping[str, tuple[str, str]]) -> Iterator["Watching"]:
        with contextlib.ExitStack() as stack:
            for name, (host, address) in asked.items():
                program = [sys.executable, "-m", "tests.support.site_watcher", str(folder / f"{name}.jsonl")]
                command = self.lab.network.command(host, program)
                stack.enter_context(running(command, log=folder / f"{name}.log", env={"WATCHER_DSN": address}))
            watching = Watching(folder, tuple(asked))
            wait_until(
                lambda: all(watching.samples(name) for name in asked),
                within_s=_ANSWERS_WITHIN_S,
                what="the first looks",
            )
            yield watching

    def write(self, site: str) -> None:
        """Something is written on the site's leader."""
        with psycopg.connect(self.lab.dsn(self.leader(site)), autocommit=True) as connection:
            connection.execute("create table if not exists noted (at timestamptz default now())")
            connection.execute("insert into noted default values")

    def _open(self, port: str, spec: dict[str, Any], grant: Grant | None = DEFAULT) -> Any:
        return open_driver(port, DriverSpec.model_validate(spec), Context(base=self.lab.home, grant=grant))


class Writing:
    """What the writer's log says."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def writes(self) -> list[Write]:
        """Return all writes that have ended, in the order of their ends."""
        try:
            lines = self._log.read_text().split("\n")[:-1]
        except FileNotFoundError:
            return []
        return [Write(*json.loads(line)) for line in lines]

    def acknowledged(self) -> list[Write]:
        """Return those that users were told to be written."""
        return [write for write in self.writes() if write.outcome == "ok"]

    def wait_for_success(self, since: float, *, within_s: float = 240.0) -> None:
        """Writes that began after the moment succeed, ten of them."""
        wait_until(
            lambda: sum(write.began > since for write in self.acknowledged()) >= 10,
            within_s=within_s,
            what="writes that succeed again",
        )

    def longest_gap_s(self, since: float) -> float:
        """Return the longest time after the moment in which nobody was told that a write had worked."""
        ends = [since, *(write.ended for write in self.acknowledged() if write.ended > since)]
        return max((later - earlier for earlier, later in itertools.pairwise(ends)), default=0.0)


class Watching:
    """What those said that were asked whether they take writes.

    Args:
        folder: with a log for each.
        names: of those that are asked.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder, names

    def samples(self, node: str) -> list[tuple[float, float, bool | None]]:
        """Return what one of them said, each with the times before and after the question."""
        try:
            lines = (self._folder / f"{node}.jsonl").read_text().split("\n")[:-1]
        except FileNotFoundError:
            return []
        return [tuple(json.loads(line)) for line in lines]

    def writable(self, node: str) -> list[tuple[float, float]]:
        """Return the spans of time in which one of them surely took writes."""
        spans: list[tuple[float, float]] = []
        for writable, group in itertools.groupby(self.samples(node), key=lambda sample: sample[2]):
            asked = list(group)
            if writable and asked[-1][0] > asked[0][1]:
                spans.append((asked[0][1], asked[-1][0]))
        return spans

    def require_never_two(self) -> None:
        """At no time did two of them take writes."""
        for one, other in itertools.combinations(self._names, 2):
            for (a, b), (c, d) in itertools.product(self.writable(one), self.writable(other)):
                assert min(b, d) <= max(a, c), f"{one} and {other} both took writes for {min(b, d) - max(a, c):.2f} s"


@contextlib.contextmanager
def running_sites(var: Path, *, own_disks: bool = False, own_backup: bool = False) -> Iterator[Sites]:
    """Both sites run for the length of a `with`. No namespaces, or not installed: a skip, in CI a failure."""
    for program in ("nft", "etcd", "pdns_server", "haproxy", "patroni", *(["pgbackrest"] if own_backup else [])):
        need(program)
    try:
        require_namespaces()
    except Refused as refusal:
        missing(refusal.what)
    lab = SiteLab(var, ends_with_us=True, own_disks=own_disks, own_backup=own_backup)
    try:
        lab.up(print)
        yield Sites(lab)
    finally:
        lab.down()


def now() -> float:
    """Return the moment, by the clock of the logs."""
    return time.monotonic()
