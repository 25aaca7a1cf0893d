"""Moves between the lab's two sites as a user has them: the commands, a worker, a watch and three vantage points.

Times are logged (--log-cli-level=INFO), and not asserted: a busy machine is no fault.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployments.lab.sites import estate
from deployments.lab.sites.topology import DATABASE_NAME
from deployments.terminal import Exit
from tests.support.desk import CLI, Desk
from tests.support.processes import end, wait_until
from tests.support.site_moves import A, B, bring_home, site_place
from tests.support.sites import Sites, now

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
_RUN = re.compile(r"run ([0-9a-f]{8}-[0-9a-f-]+)")


@pytest.fixture
def desk(sites: Sites, database_url: str, api: str, tmp_path: Path) -> Iterator[Desk]:
    with site_place(sites, database_url, api) as place, ExitStack() as stack:
        found = Desk(sites, place, stack, tmp_path)
        found.slipway("apply")
        found.start_worker()
        yield found


def test_commands_say_what_they_would_do_and_do_it(desk: Desk, sites: Sites) -> None:
    refused = desk.slipway("failover", "campus", "--plan", ends_with=Exit.REFUSED)
    assert f"{A} serves: its database takes writes, and its door is open" in refused
    assert "nothing was changed" in refused and "slipway switchover campus" in refused
    planned = desk.slipway("switchover", "campus", "--to", B, "--plan")
    assert f"switchover from {A} to {B}" in planned and f"{B}: promote" in planned
    assert sites.seen("a").serves, "a plan changes nothing"
    done = desk.slipway("switchover", "campus", "--to", B)
    assert "switchover of campus: Completed" in done
    assert sites.seen("b").serves
    desk.start_vantage_points()
    seen = desk.slipway("watch", "--once")
    assert f"campus: {B} serves, as the names have it" in seen
    assert seen.count("the site answers, and its database takes writes") == len(estate.VANTAGE_POINTS)
    assert "switchover of campus: Completed" in desk.slipway("switchover", "campus", "--to", A)
    again = desk.slipway("switchover", "campus", "--to", A, ends_with=Exit.REFUSED)
    assert f"{A} is the site that serves" in again
    sites.door("b").open()
    sites.wait_whole()


def test_site_that_is_cut_off_is_failed_over_by_itself_and_failed_back_to_by_a_person(
    desk: Desk, sites: Sites, tmp_path: Path
) -> None:
    desk.start_vantage_points()
    desk.start("watch", [*CLI, "watch"])
    wait_until(lambda: f"campus: {A}: up" in desk.log_of("watch").read_text(), within_s=240, what="the first look")
    with sites.visiting(tmp_path) as visiting, sites.writing(tmp_path) as writing:
        cut = now()
        sites.lab.network.unplug_site("a")
        wait_until(lambda: f"{A}: site down" in desk.log_of("watch").read_text(), within_s=240, what="the detection")
        _log.info("%.1f s from the cut to the detection", now() - cut)
        wait_until(
            lambda: sites.dns().observe(DATABASE_NAME).addresses == (sites.edge("b"),), within_s=240, what="the names"
        )
        _log.info("%.1f s from the cut to the names", now() - cut)
        writing.wait_for_success(now())
        _log.info("%.1f s from the cut to the first write", writing.longest_gap_s(cut))
        (run,) = wait_until(
            lambda: [note for note in desk.place.notes() if note.kind == "ended"], within_s=240, what="the record"
        )
        assert run.facts["closed"] == "reached", run.facts
        desk.slipway("watch", "--once")
        sites.lab.network.plug_in_site("a")
        moved = desk.start("failback", [*CLI, "failback", "campus", "--to", A])
        wait_until(
            lambda: "waits for an answer" in desk.log_of("failback").read_text(), within_s=240, what="a question"
        )
        found = _RUN.search(desk.log_of("failback").read_text())
        assert found is not None
        began = now()
        desk.slipway("approve", found[1][:8], "--reason", "its uplink is mended")
        moved.wait(300)
        assert moved.returncode == Exit.DONE, desk.log_of("failback").read_text()
        writing.wait_for_success(now())
        _log.info("failback: no write for %.1f s", writing.longest_gap_s(began))
    visiting.require_never_two()
    kept = {write.id for write in writing.acknowledged() if write.began > began}
    assert kept and not kept - sites.rows("a")
    end(moved)
    bring_home(sites)
