"""Moves between the lab's two sites that are killed with -9 at their changes: the next run ends them.

A database that is cut off from everybody may go on by itself, and nobody can tell it: what users can reach counts.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments.lab.sites.topology import DATABASE_NAME
from tests.support.prefect_server import prefect_server
from tests.support.processes import running, wait_until
from tests.support.site_moves import A, B, SitePlace, bring_home, require_kept, say_gap, site_place
from tests.support.sites import Sites, now

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]

_log = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[3]
PROGRAM = [sys.executable, "-m", "tests.support.site_moves"]
# What each sends, in order. Failover of a site that is cut off: door, promotion, two names; the fence is not tried.
# Switchover: door, fence, promotion, two names, following.
FAILOVER = [(1, "after"), (2, "before"), (2, "after"), (3, "after")]
SWITCHOVER = [(1, "after"), (2, "after"), (3, "after"), (6, "after")]


@pytest.fixture
def place(sites: Sites, database_url: str, prefect_api: str) -> Iterator[SitePlace]:
    with site_place(sites, database_url, prefect_api) as place:
        # How long it takes to start processes is no loss of a site.
        place.describe(sites, objectives={"rto": "60s", "rpo": "10m"})
        yield place


def killed(place: SitePlace, flow: str, to: str, number: int, when: str) -> None:
    """A process of its own ran the flow, and died at its change of that number."""
    env = {**os.environ, "PREFECT_API_URL": place.api}
    estate = str(place.folder / "estate.yaml")
    done = subprocess.run(
        [*PROGRAM, flow, to, str(number), when, estate], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == -signal.SIGKILL, f"it was not killed: {done.returncode}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize(("number", "when"), SWITCHOVER)
def test_switchover_that_was_killed_is_ended_by_the_next_one_without_a_loss(
    sites: Sites, place: SitePlace, tmp_path: Path, number: int, when: str
) -> None:
    with sites.watching(tmp_path) as watching, sites.writing(tmp_path) as writing:
        began = now()
        killed(place, "switchover", B, number, when)
        ran = place.run("switchover", to=B)
        ran.require_done()
        writing.wait_for_success(now())
        say_gap(f"switchover, killed {when} change {number}", writing, began)
        assert f"this carries on the switchover from {A} to {B}" in ran.artifact
    watching.require_never_two()
    require_kept(sites, "b", writing)
    assert sites.seen("b").serves and sites.seen("a").stopped_writing
    bring_home(sites)


@pytest.mark.parametrize(("number", "when"), FAILOVER)
def test_failover_that_was_killed_is_ended_by_the_next_one_though_the_old_site_is_back(
    sites: Sites, place: SitePlace, tmp_path: Path, number: int, when: str
) -> None:
    with sites.visiting(tmp_path) as visiting, sites.writing(tmp_path) as writing:
        wait_until(lambda: sites.seen("b").streaming, within_s=240, what="site B to receive")
        began = now()
        sites.lab.network.unplug_site("a")
        killed(place, "failover", B, number, when)
        # It comes back, as sites do when nobody expects it.
        sites.lab.network.plug_in_site("a")
        ran = place.run("failover", to=B, down_since=datetime.now(UTC))
        ran.require_done()
        writing.wait_for_success(now())
        say_gap(f"failover, killed {when} change {number}", writing, began)
        assert f"this carries on the failover from {A} to {B}" in ran.artifact
    visiting.require_never_two()
    assert sites.seen("b").serves and sites.door("a").observe().shut
    bring_home(sites)


def test_prefect_server_that_is_killed_in_a_failover_leaves_one_that_the_next_run_ends(
    sites: Sites, database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "prefect"
    folder.mkdir()
    with ExitStack() as stack, sites.visiting(tmp_path) as visiting, sites.writing(tmp_path) as writing:
        server = stack.enter_context(ExitStack())
        api = server.enter_context(prefect_server(folder))
        place = stack.enter_context(site_place(sites, database_url, api))
        place.describe(sites, objectives={"rto": "60s", "rpo": "10m"})
        began = now()
        sites.lab.network.unplug_site("a")
        argv = [*PROGRAM, "failover", B, "0", "after", str(place.folder / "estate.yaml")]
        with running(argv, log=tmp_path / "run.log", cwd=ROOT, env={"PREFECT_API_URL": api}) as run:
            wait_until(lambda: not sites.door("a").observe().open, within_s=240, what="the first change")
            server.close()
            served = _served_by_itself(sites, run)
        _log.info("without its Prefect server the failover %s", "came to its end" if served else "stood still")
        port = int(api.rpartition(":")[2].partition("/")[0])
        place.api = stack.enter_context(prefect_server(folder, port))
        if not served:
            place.run("failover", to=B, down_since=datetime.now(UTC)).require_done()
        writing.wait_for_success(now())
        say_gap("failover, Prefect server killed", writing, began)
    visiting.require_never_two()
    assert sites.seen("b").serves and sites.door("a").observe().shut
    bring_home(sites)


def _served_by_itself(sites: Sites, run: "subprocess.Popen[bytes]") -> bool:
    """Return whether B serves users when the run has ended, or has stood still for long."""

    def serves() -> bool:
        answer = sites.dns().observe(DATABASE_NAME)
        return answer.addresses == (sites.edge("b"),) and sites.seen("b").serves

    with suppress(AssertionError):
        wait_until(lambda: serves() or run.poll() is not None, within_s=240, what="the end of the run")
    return serves()
