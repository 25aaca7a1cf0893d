"""The lab's two sites as an estate, and the flows that move users between them, killed wherever a test wants."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from blocks.clusters.patroni_api import PatroniApi
from blocks.dns.powerdns import PowerDns
from blocks.doors.haproxy import HaproxyDoor
from deployments.lab.sites import estate
from deployments.lab.sites.topology import MEMBERS
from deployments.move_command import answer_move
from tasks.common.errors import Retryable
from tasks.common.sites import ClusterRole
from tasks.failover.request import FailoverRequest, MoveRequest
from tests.support.failing_over import FLOWS, Moved, MovePlace
from tests.support.paused import stop_here
from tests.support.prefect_server import flows_of
from tests.support.processes import die, short_folder, wait_until
from tests.support.sites import Sites, Writing

CAMPUS = "campus"
A, B = estate.region("a"), estate.region("b")
_log = logging.getLogger(__name__)


@dataclass
class SitePlace(MovePlace):
    """The estate file of the lab's two sites, with a ledger of its own."""

    failover: str = CAMPUS

    def describe(self, sites: Sites, **plan: Any) -> None:
        """The estate file has the failover `campus`."""
        wanted = {**estate.failover(sites.lab), "lease": "5s", **plan}
        found = estate.whole(sites.lab, f"file:{self.folder / 'dsn'}", failovers={CAMPUS: wanted})
        (self.folder / "estate.yaml").write_text(yaml.safe_dump(found))

    def fail_back(self, to: str) -> Moved:
        """A failback was asked for, approved and done."""
        run_id = self.begin("failback", to=to)
        with flows_of(self.api):
            assert answer_move(
                self.open().ledger.moves, run_id[:8], {"decision": "approve", "reason": "mended", "name": "ann"}
            )
        return self.go_on("failback", run_id)


@contextmanager
def site_place(sites: Sites, ledger: str, api: str) -> Iterator[SitePlace]:
    """A place whose users are at site A, which site B follows."""
    with short_folder() as folder:
        (folder / "dsn").write_text(ledger)
        place = SitePlace(folder, api)
        place.describe(sites)
        yield place


def bring_home(sites: Sites) -> None:
    """Both sites are whole, and users are at A, whatever was done to them; what only one of them has may be lost."""
    sites.mend()
    for name in MEMBERS:
        wait_until(lambda name=name: _answers(sites, name), within_s=240, what=f"every node of site {name}")  # type: ignore[misc]
    a, b = sites.cluster("a"), sites.cluster("b")
    if sites.seen("a").role is not ClusterRole.PRIMARY:
        if sites.seen("b").role is ClusterRole.PRIMARY:
            if sites.seen("a").role is not ClusterRole.STANDBY:
                a.follow(sites.upstream("b"), rebuild=True)
            b.fence()
            wait_until(lambda: (sites.seen("a").lsn or 0) >= (sites.seen("b").lsn or 1), within_s=240, what="all at A")
        a.promote()
    # A site that was just plugged in is reached a moment later: its HAProxy looks at its nodes first.
    wait_until(lambda: _follows(sites, "b", "a"), within_s=60, what="a standby at B")
    for name in MEMBERS:
        sites.door(name).open()
    for name in (estate.APPLICATION_NAME, estate.DATABASE_NAME):
        sites.dns().point(name, [sites.edge("a")], 5)
    sites.wait_whole()


def _follows(sites: Sites, site: str, source: str) -> bool:
    try:
        sites.cluster(site).follow(sites.upstream(source), rebuild=True)
    except Retryable:
        return False
    return True


def _answers(sites: Sites, site: str) -> bool:
    return all(node.writable is not None for node in sites.seen(site).nodes)


def require_kept(sites: Sites, site: str, writing: Writing) -> None:
    """No acknowledged write is missing at the site."""
    acknowledged = {write.id for write in writing.acknowledged()}
    missing = acknowledged - sites.rows(site)
    assert acknowledged and not missing, f"{len(missing)} of {len(acknowledged)} acknowledged rows are lost"


def say_gap(what: str, writing: Writing, since: float) -> None:
    """It is in the log how long nobody was told that a write had worked."""
    _log.info("%s: no write for %.1f s", what, writing.longest_gap_s(since))


def main() -> None:
    """Run a flow in this process, which dies at its change of that number, from 1: 'FLOW TO NUMBER WHEN ESTATE'."""
    flow, to, number, when, file = sys.argv[1:]
    _die_at(int(number), when)
    asked = {"failover": CAMPUS, "to": to, "estate": file}
    if flow == "failover":
        FLOWS[flow](FailoverRequest.model_validate({**asked, "down_since": datetime.now(UTC)}))
    else:
        FLOWS[flow](MoveRequest.model_validate(asked))


def _die_at(number: int, when: str) -> None:
    """This process dies with -9 at its change of that number: before it is sent, or when it was and nothing is awaited.

    With 'freeze' it stops (SIGSTOP) right before it is sent: it has just seen that it still has the right to. Changes
    are what is sent to HAProxy, Patroni (or its etcd) and PowerDNS.
    """
    changes = 0

    def dying(send: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal changes
            changes += 1
            mine = changes
            die(mine == number and when == "before")
            if mine == number and when == "freeze":
                stop_here()
            result = send(*arguments, **named)
            die(mine == number and when == "after")
            return result

        return call

    senders: tuple[tuple[Any, str], ...] = ((HaproxyDoor, "_set"), (PatroniApi, "patch"), (PowerDns, "_change"))
    for driver, name in senders:
        setattr(driver, name, dying(getattr(driver, name)))


if __name__ == "__main__":
    main()
