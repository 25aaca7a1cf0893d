"""Moves between the lab's two sites while something else is broken: each says what failed, what is so, what next."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.lab.sites.topology import DATABASE_NAME, DNS_API_PORT, LEDGER
from tasks.common.errors import Refused, Retryable
from tasks.common.lease import Lease, scope_of
from tasks.common.sites import ClusterRole
from tests.support.processes import running, stands_still, wait_until
from tests.support.site_moves import CAMPUS, A, B, SitePlace, bring_home, site_place
from tests.support.sites import Sites, now

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
ROOT = Path(__file__).resolve().parents[3]
PROGRAM = [sys.executable, "-m", "tests.support.site_moves"]


@pytest.fixture
def place(sites: Sites, database_url: str, prefect_api: str) -> Iterator[SitePlace]:
    with site_place(sites, database_url, prefect_api) as place:
        yield place


@contextmanager
def cut_off(sites: Sites) -> Iterator[datetime]:
    """Site A is off the network within the block, after B had received everything; yields since when."""
    wait_until(lambda: sites.seen("b").streaming, within_s=240, what="site B to receive")
    since = datetime.now(UTC)
    sites.lab.network.unplug_site("a")
    try:
        yield since
    finally:
        sites.lab.network.plug_in_site("a")


def untouched(sites: Sites) -> None:
    """Nothing was changed at either site."""
    assert sites.door("a").observe().open and sites.door("b").observe().open
    assert sites.seen("a").serves
    assert sites.seen("b").role is ClusterRole.STANDBY
    assert sites.dns().observe(DATABASE_NAME).addresses == (sites.edge("a"),)


def test_fence_that_cannot_be_shown_stops_it_until_a_person_takes_the_risk(sites: Sites, place: SitePlace) -> None:
    socket = sites.lab.edge_socket("a")
    with cut_off(sites) as since:
        socket.rename(socket.with_suffix(".away"))
        try:
            ran = place.run("failover", down_since=since)
            assert isinstance(ran.error, Refused)
            assert f"it cannot be shown that {A} takes no writes any more" in ran.error.what
            assert "--accept-unfenced" in ran.error.next_action
            assert sites.seen("b").role is ClusterRole.STANDBY
            assert "**It failed**" in ran.artifact and "nobody was promoted" in ran.artifact
            again = place.run("failover", accept_unfenced="its rack has no power", requested_by="ada")
            again.require_done()
        finally:
            socket.with_suffix(".away").rename(socket)
        assert sites.seen("b").serves
        _log.info("%s", again.artifact)
        assert "its rack has no power" in again.artifact and "ada" in again.artifact
    bring_home(sites)


def test_dns_whose_api_is_dead_leaves_a_promoted_site_and_the_next_run_points_the_names(
    sites: Sites, place: SitePlace
) -> None:
    with cut_off(sites) as since, api_cut(sites):
        ran = place.run("failover", down_since=since)
        _log.info("%s", ran.error.block())
        assert isinstance(ran.error, Retryable) and "PowerDNS does not answer" in ran.error.what
        assert "by hand" in ran.error.next_action
        assert f"{B} was being promoted: 'slipway failover campus --to {B}' carries it on" in ran.artifact
        assert sites.seen("b").serves
        assert sites.dns().observe(DATABASE_NAME).addresses == (sites.edge("a"),)
    place.run("failover", to=B).require_done()
    assert sites.dns().observe(DATABASE_NAME).addresses == (sites.edge("b"),)
    bring_home(sites)


@contextmanager
def api_cut(sites: Sites) -> Iterator[None]:
    """The DNS server answers clients, and nobody who would change it."""

    def rules(*words: str) -> None:
        subprocess.run(sites.lab.network.command("dns", ["nft", *words]), check=True, timeout=20)

    rules("add", "table", "inet", "api")
    rules("add", "chain", "inet", "api", "input", "{ type filter hook input priority 1; }")
    rules("add", "rule", "inet", "api", "input", "tcp", "dport", str(DNS_API_PORT), "drop")
    try:
        yield
    finally:
        rules("delete", "table", "inet", "api")


def test_dns_that_is_dead_beside_the_site_leaves_nobody_who_says_which_one_serves(
    sites: Sites, place: SitePlace
) -> None:
    with cut_off(sites) as since:
        sites.lab.network.unplug("dns")
        ran = place.run("failover", down_since=since)
        sites.lab.network.plug_in("dns")
        _log.info("%s", ran.error.block())
        assert isinstance(ran.error, Retryable) and "it is not known which site serves" in ran.error.what
        assert "bring the DNS server back" in ran.error.next_action
        place.run("failover", down_since=since).require_done()
    assert sites.seen("b").serves
    bring_home(sites)


def test_loss_beyond_the_objective_is_refused_and_what_is_accepted_is_no_less_than_what_is_lost(
    sites: Sites, place: SitePlace, tmp_path: Path
) -> None:
    place.describe(sites, objectives={"rto": "60s", "rpo": "3s"})
    with sites.writing(tmp_path) as writing:
        for node in ("b1", "b2"):
            sites.lab.network.cut(node, ["edge-a"])
        wait_until(lambda: (sites.seen("b").lag_s or 0) > 8, within_s=240, what="a standby that is late")
        cut, since = now(), datetime.now(UTC)
        sites.lab.network.unplug_site("a")
        for node in ("b1", "b2"):
            sites.lab.network.mend(node)
        ran = place.run("failover", down_since=since)
        _log.info("%s", ran.error.block())
        assert isinstance(ran.error, Refused)
        assert "would be lost, and the objective is 3 s" in ran.error.what and "--accept-loss" in ran.error.next_action
        assert sites.door("a").observe().open and sites.seen("b").role is ClusterRole.STANDBY
        done = place.run("failover", down_since=since, accept_loss="the site has burned", requested_by="ada")
        done.require_done()
        writing.wait_for_success(now())
    _log.info("%s", done.artifact)
    assert "the site has burned" in done.artifact and "3 s: MISSED" in done.artifact
    kept = sites.rows("b")
    lost = [write for write in writing.acknowledged() if write.id not in kept and write.ended < cut]
    (said,) = [note.facts["loss_s"] for note in place.notes() if note.kind == "decided"]
    oldest_s = max(cut - write.ended for write in lost)
    _log.info("said to be lost: %s s at most; lost: %d writes, the oldest of %.1f s", said, len(lost), oldest_s)
    assert lost and isinstance(said, float) and oldest_s <= said + 0.5
    bring_home(sites)


def test_standby_that_is_missing_is_not_promoted(sites: Sites, place: SitePlace) -> None:
    with cut_off(sites) as since:
        for node in ("b1", "b2"):
            sites.lab.kill_host(node)
        ran = place.run("failover", down_since=since)
        for node in ("b1", "b2"):
            sites.lab.start_host(node)
    _log.info("%s", ran.error.block())
    assert isinstance(ran.error, Refused) and f"{B} " in ran.error.what
    assert f"bring {A} up again, or bring the standby in {B} up" in ran.error.next_action
    sites.wait_whole()
    untouched(sites)


def test_site_with_the_data_of_another_system_is_not_promoted(sites: Sites, place: SitePlace) -> None:
    place.describe(sites, system_id="7000000000000000001")
    with cut_off(sites) as since:
        ran = place.run("failover", down_since=since)
    assert isinstance(ran.error, Refused)
    assert f"{B} holds the data of another system: {sites.lab.system_id}, and not 7000000000000000001" in ran.error.what
    assert sites.door("a").observe().open
    sites.wait_whole()


def test_release_that_is_at_work_stops_a_switchover_and_no_failover(sites: Sites, place: SitePlace) -> None:
    ledger = place.open().ledger
    ledger.prepare()
    assert isinstance(ledger.leases.acquire(scope_of("campus", "production"), "a-release", 300), Lease)
    ran = place.run("switchover", to=B)
    assert "run a-release is at work on campus in production, and nothing is down" in ran.error.what
    untouched(sites)
    with cut_off(sites) as since:
        done = place.run("failover", down_since=since)
    done.require_done()
    assert "run a-release was at work on campus in production" in done.artifact
    bring_home(sites)


def test_of_two_failovers_at_the_same_time_one_is_done_and_the_other_refused(
    sites: Sites, place: SitePlace, tmp_path: Path
) -> None:
    file = str(place.folder / "estate.yaml")
    with cut_off(sites):
        env = {"PREFECT_API_URL": place.api}
        argv = [*PROGRAM, "failover", B, "0", "after", file]
        with running(argv, log=tmp_path / "first.log", cwd=ROOT, env=env) as first:
            ledger = place.open().ledger
            ledger.prepare()
            scope = scope_of("failover", CAMPUS)
            wait_until(lambda: ledger.leases.find(scope), within_s=240, what="the first run's lease")
            ran = place.run("failover", to=B, down_since=datetime.now(UTC) - timedelta(seconds=5))
            first.wait(180)
        assert first.returncode == 0, (tmp_path / "first.log").read_text()[-2000:]
    _log.info("%s", ran.error.block())
    assert isinstance(ran.error, Refused)
    assert "moves campus" in ran.error.what or f"{B} serves" in ran.error.what or f"{B} is the site" in ran.error.what
    assert sites.seen("b").serves
    bring_home(sites)


@pytest.mark.parametrize("flow", ["failover", "switchover"])
def test_run_that_was_frozen_and_lost_its_lease_undoes_nothing_when_it_wakes_up(
    sites: Sites, place: SitePlace, tmp_path: Path, flow: str
) -> None:
    # It is frozen before its second change: the promotion of a failover, the fence of a switchover. That one it still
    # sends: nobody can call it back.
    argv = [*PROGRAM, flow, B, "2", "freeze", str(place.folder / "estate.yaml")]
    log = tmp_path / "run.log"
    with ExitStack() as stack:
        if flow == "failover":
            stack.enter_context(cut_off(sites))
        run = stack.enter_context(running(argv, log=log, cwd=ROOT, env={"PREFECT_API_URL": place.api}))
        wait_until(lambda: run.poll() is not None or stands_still(run.pid), within_s=240, what="the frozen run")
        place.run(flow, to=B).require_done()
        assert sites.seen("b").serves
        os.kill(run.pid, signal.SIGCONT)
        run.wait(180)
        said = log.read_text(errors="replace")
        assert run.returncode == 1 and "lease" in said and "UNSAFE" not in said, said[-3000:]
        assert sites.seen("b").serves and sites.door("a").observe().shut
        assert sites.dns().observe(DATABASE_NAME).addresses == (sites.edge("b"),)
    bring_home(sites)


def test_ledger_that_is_down_lets_nothing_begin(sites: Sites, place: SitePlace) -> None:
    place.describe(sites)
    (place.folder / "dsn").write_text((sites.lab.home / "secrets" / f"{LEDGER}-dsn").read_text())
    with cut_off(sites) as since:
        sites.lab.network.unplug(LEDGER)
        ran = place.run("failover", down_since=since)
        sites.lab.network.plug_in(LEDGER)
    _log.info("%s", ran.error.block())
    assert isinstance(ran.error, Retryable) and "ledger" in ran.error.block()
    sites.wait_whole()
    untouched(sites)


def test_ledger_that_goes_down_in_a_failover_leaves_one_that_ends_or_is_carried_on(
    sites: Sites, place: SitePlace, tmp_path: Path
) -> None:
    (place.folder / "dsn").write_text((sites.lab.home / "secrets" / f"{LEDGER}-dsn").read_text())
    argv = [*PROGRAM, "failover", B, "0", "after", str(place.folder / "estate.yaml")]
    with cut_off(sites):
        with running(argv, log=tmp_path / "run.log", cwd=ROOT, env={"PREFECT_API_URL": place.api}) as run:
            wait_until(lambda: not sites.door("a").observe().open, within_s=240, what="the first change")
            sites.lab.network.unplug(LEDGER)
            run.wait(300)
        _log.info(
            "without its ledger the failover ended with %s\n%s",
            run.returncode,
            (tmp_path / "run.log").read_text()[-3000:],
        )
        sites.lab.network.plug_in(LEDGER)
        if run.returncode:
            place.run("failover", to=B).require_done()
    assert sites.seen("b").serves
    assert sites.dns().observe(DATABASE_NAME).addresses == (sites.edge("b"),)
    bring_home(sites)
