"""What users of two sites get while parts die: nothing acknowledged is lost, and never do two nodes take writes.

Times are logged (--log-cli-level=INFO), and not asserted: a busy machine is no fault.
"""

import itertools
import logging
from pathlib import Path

import pytest

from deployments.lab.sites.topology import DATABASE_NAME, MEMBERS
from tasks.common.errors import Retryable
from tasks.common.sites import ClusterRole
from tasks.failover.ports import SiteCluster
from tests.support.processes import wait_until
from tests.support.sites import Sites, Watching, Writing, now

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]


def _require_nothing_lost(sites: Sites, site: str, writing: Writing) -> None:
    acknowledged = {write.id for write in writing.acknowledged()}
    missing = acknowledged - sites.rows(site)
    assert acknowledged
    assert not missing, f"{len(missing)} of {len(acknowledged)} acknowledged rows are lost: {sorted(missing)[:10]}"


def _say(what: str, writing: Writing, since: float) -> None:
    writes = writing.writes()
    gap_s, acknowledged = writing.longest_gap_s(since), writing.acknowledged()
    _log.info("%s: no write for %.1f s; %d acknowledged of %d", what, gap_s, len(acknowledged), len(writes))


def _postmaster(sites: Sites, node: str) -> int:
    return int((sites.lab.data(node) / "postmaster.pid").read_text().splitlines()[0])


def _end(sites: Sites, site: str, writing: Writing, watching: Watching, what: str, since: float) -> None:
    _say(what, writing, since)
    watching.require_never_two()
    _require_nothing_lost(sites, site, writing)


def test_switchover_hands_over_without_a_loss(sites: Sites, tmp_path: Path) -> None:
    cluster = sites.cluster("a")
    to = next(node.name for node in cluster.observe().nodes if node.synchronous)
    with sites.watching(tmp_path) as watching, sites.writing(tmp_path) as writing:
        began = now()
        cluster.switch_over(to)
        writing.wait_for_success(now())
        assert sites.leader("a") == to
        sites.wait_whole()
    _end(sites, "a", writing, watching, "switchover", began)


def test_a_postmaster_that_is_killed_costs_no_acknowledged_write(sites: Sites, tmp_path: Path) -> None:
    leader = sites.leader("a")
    with sites.watching(tmp_path) as watching, sites.writing(tmp_path) as writing:
        began = now()
        sites.lab.network.signal(leader, [_postmaster(sites, leader)])
        wait_until(lambda: _failed(writing, began), what="a write that fails")
        writing.wait_for_success(now())
        sites.wait_whole()
    _end(sites, "a", writing, watching, "postmaster killed", began)


def test_a_node_that_is_lost_costs_no_acknowledged_write(sites: Sites, tmp_path: Path) -> None:
    leader = sites.leader("a")
    with sites.watching(tmp_path) as watching, sites.writing(tmp_path) as writing:
        began = now()
        # Only the database's own processes: the watcher on that host stays.
        sites.lab.network.signal(leader, sites.lab.network.processes(leader) - _watchers(sites, leader))
        wait_until(lambda: _failed(writing, began), what="a write that fails")
        writing.wait_for_success(now())
        assert sites.leader("a") != leader
        sites.lab.start_host(leader)
        sites.wait_whole()
    _end(sites, "a", writing, watching, "node lost", began)


def test_a_leader_that_is_cut_from_etcd_steps_down_before_another_one_leads(sites: Sites, tmp_path: Path) -> None:
    leader = sites.leader("a")
    with sites.watching(tmp_path) as watching, sites.writing(tmp_path) as writing:
        began = now()
        sites.lab.network.cut(leader, ["etcd-a"])
        wait_until(lambda: _failed(writing, began), what="a write that fails")
        writing.wait_for_success(now())
        assert sites.leader("a") != leader
        sites.lab.network.mend(leader)
        sites.wait_whole()
    _end(sites, "a", writing, watching, "leader cut from etcd", began)


def test_a_leader_that_is_cut_off_is_never_writable_beside_the_next_one(sites: Sites, tmp_path: Path) -> None:
    leader = sites.leader("a")
    with sites.watching(tmp_path) as watching, sites.writing(tmp_path) as writing:
        began = now()
        sites.lab.network.unplug(leader)
        wait_until(lambda: _failed(writing, began), what="a write that fails")
        writing.wait_for_success(now())
        sites.lab.network.plug_in(leader)
        sites.wait_whole()
    _end(sites, "a", writing, watching, "leader unplugged", began)


def test_site_that_disappears_is_replaced_by_the_other_one_and_returns_as_its_standby(
    sites: Sites, tmp_path: Path
) -> None:
    a, b, door, dns = sites.cluster("a"), sites.cluster("b"), sites.door("a"), sites.dns()
    with sites.watching(tmp_path) as watching, sites.writing(tmp_path) as writing:
        wait_until(lambda: b.observe().streaming, what="site B to receive")
        began = now()
        sites.lab.network.unplug_site("a")
        # Its edge is not in the site: with that closed no user reaches what may still take writes there.
        door.close()
        b.promote()
        dns.point(DATABASE_NAME, [sites.edge("b")], 5)
        writing.wait_for_success(now())
        _say("site A gone, B promoted", writing, began)
        lost = {write.id for write in writing.acknowledged()} - sites.rows("b")
        _log.info("acknowledged rows that only site A has: %d of %d", len(lost), len(writing.acknowledged()))

        sites.lab.network.plug_in_site("a")
        a.fence()
        assert a.observe().stopped_writing
        a.follow(sites.upstream("b"), rebuild=True)
        wait_until(lambda: a.observe().streaming, what="site A to receive")
        door.open()
        _bring_home(sites)
        writing.wait_for_success(now())
    # The sites share no lease: A took writes, which no user could reach, until it was fenced. Within a site never two.
    _require_never_two_within_a_site(watching)
    assert lost >= {write.id for write in writing.acknowledged()} - sites.rows("a")


def test_unreachable_site_is_fenced_through_its_etcd_once_that_can_be_reached(sites: Sites) -> None:
    cluster = sites.cluster("a", within="10s")
    for node in MEMBERS["a"]:
        sites.lab.kill_host(node)
    # Patroni answers on no node: patronictl writes the configuration, and no node will start as a primary.
    with pytest.raises(Retryable):
        cluster.fence()
    wait_until(lambda: _role(cluster) is ClusterRole.FENCED, what="what etcd keeps")
    for node in MEMBERS["a"]:
        sites.lab.start_host(node)
    sites.cluster("a").fence()
    seen = sites.cluster("a").observe()
    assert not seen.writable and not seen.silent
    sites.cluster("a").promote()
    sites.wait_whole()


def _role(cluster: SiteCluster) -> ClusterRole:
    try:
        return cluster.observe().role
    except Retryable:
        return ClusterRole.UNKNOWN


def _bring_home(sites: Sites) -> None:
    """Site A takes the writes again, and B follows it; planned, and without a loss."""
    a, b = sites.cluster("a"), sites.cluster("b")
    b.fence()
    wait_until(lambda: b.observe().lsn is not None, what="site B's position")
    wait_until(lambda: (a.observe().lsn or 0) >= (b.observe().lsn or 0), what="site A to have all of B")
    a.promote()
    sites.dns().point(DATABASE_NAME, [sites.edge("a")], 5)
    b.follow(sites.upstream("a"))
    sites.wait_whole()


def _require_never_two_within_a_site(watching: Watching) -> None:
    for names in MEMBERS.values():
        spans = sorted(span for name in names for span in watching.writable(name))
        for (_, ended), (began, _) in itertools.pairwise(spans):
            assert ended <= began


def _failed(writing: Writing, since: float) -> bool:
    return any(write.outcome != "ok" and write.ended > since for write in writing.writes())


def _watchers(sites: Sites, node: str) -> frozenset[int]:
    """Return the processes on a host that only watch it."""
    found = sites.lab.network.processes(node)
    return frozenset(pid for pid in found if b"site_watcher" in Path(f"/proc/{pid}/cmdline").read_bytes())
