"""The flows `switchover`, `failover` and `failback` over the lab's two sites, with users who write through HAProxy.

Times are logged (--log-cli-level=INFO), and not asserted: a busy machine is no fault.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.common.sites import ClusterRole
from tests.support.events import names_of
from tests.support.processes import wait_until
from tests.support.site_moves import A, B, SitePlace, bring_home, require_kept, say_gap, site_place
from tests.support.sites import Sites, now

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def place(sites: Sites, database_url: str, prefect_api: str) -> Iterator[SitePlace]:
    with site_place(sites, database_url, prefect_api) as place:
        yield place


def test_switchover_there_and_back_loses_no_acknowledged_write(sites: Sites, place: SitePlace, tmp_path: Path) -> None:
    with sites.watching(tmp_path) as watching, sites.writing(tmp_path) as writing:
        for source, to in ((A, B), (B, A)):
            began = now()
            ran = place.run("switchover", to=to)
            ran.require_done()
            writing.wait_for_success(now())
            say_gap(f"switchover to {to}", writing, began)
            text = ran.artifact
            _log.info("%s", text)
            assert text.startswith(f"# switchover from {source} to {to}: campus\n\n**{to} serves**")
            for step in (f"{source}: close the door", f"{source}: fence", f"{to}: promote", f"{source}: have the"):
                assert f"| {step}" in text, step
            assert "lost: nothing" in text and "RPO: lost | nothing" in text
    watching.require_never_two()
    require_kept(sites, "a", writing)
    assert [note.facts["closed"] for note in place.notes() if note.kind == "ended"] == ["reached", "reached"]
    sites.door("b").open()
    sites.wait_whole()


def test_site_that_is_gone_is_failed_over_and_failed_back_to(sites: Sites, place: SitePlace, tmp_path: Path) -> None:
    with sites.writing(tmp_path) as writing:
        wait_until(lambda: sites.seen("b").streaming, within_s=240, what="site B to receive")
        began, since = now(), datetime.now(UTC)
        sites.lab.network.unplug_site("a")
        ran = place.run("failover", down_since=since)
        ran.require_done()
        writing.wait_for_success(now())
        say_gap("site A gone, failover", writing, began)
        text = ran.artifact
        _log.info("%s", text)
        assert text.startswith(f"# failover from {A} to {B}: campus\n\n**{B} serves**, after ")
        assert f"{A}: close the door" in text and "no user reaches it" in text
        assert "RTO: users were not served" in text and "30 s: met" in text
        assert f"'slipway failback campus --to {A}'" in text
        assert names_of(place.api, str(ran.id))[-1] == "slipway.failover.finished"
        sites.lab.network.plug_in_site("a")
        assert sites.door("a").observe().shut, "it stays shut when the site comes back"
        assert sites.seen("a").role is ClusterRole.PRIMARY, "it does not know yet"
        began = now()
        back = place.fail_back(A)
        back.require_done()
        writing.wait_for_success(now())
        say_gap("failback", writing, began)
        after = {write.id for write in writing.acknowledged() if write.began > began}
        _log.info("%s", back.artifact)
    assert after and not after - sites.rows("a"), "nothing that was written after the failover is lost"
    assert f"# failback from {B} to {A}: campus" in back.artifact
    assert sites.seen("b").follows == f"{sites.edge('a')}:5433"
    bring_home(sites)
