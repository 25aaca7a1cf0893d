"""Drills of storage that fails under Patroni's leader, on disks that are really full, read-only or hung.

Times are logged (--log-cli-level=INFO), and not asserted: a busy machine is no fault.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.another_client import AGREE_WITHIN_S, writing_beside
from tests.support.broken_sites import BrokenSites, broken_sites
from tests.support.sites import Sites

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
OUTCOMES = {
    "disk-full": "a-person-must-act",
    "disk-read-only": "fails-over",
    "disk-stalled": "a-person-must-act",
}


@pytest.fixture(scope="module")
def place(sites_on_disks: Sites, request: pytest.FixtureRequest, prefect_api: str) -> Iterator[BrokenSites]:
    ledger = request.getfixturevalue("postgresql_cluster").database()
    with broken_sites(sites_on_disks, ledger, prefect_api) as place:
        yield place


@pytest.mark.parametrize(("name", "outcome"), sorted(OUTCOMES.items()))
def test_storage_that_fails_is_mended_or_a_person_is_told_what_to_do(
    place: BrokenSites, tmp_path: Path, name: str, outcome: str
) -> None:
    place.wait_whole()
    place.use(name)
    before, began_s = place.leader, time.monotonic()
    with writing_beside(place.sites, tmp_path) as other:
        ran = place.practise(name)
        until_s = time.monotonic()
    facts, (first_s, back_s) = place.facts(ran), other.outage(began_s, until_s)
    _log.info("%s: %s, RTO %s s, %s", name, facts["outcome"], facts["rto_s"], facts["moments"])
    _log.info("%s: another client %.2f s; late %.2f s", name, back_s - first_s, other.late_s())
    ran.require_passed()
    assert abs(facts["moments"]["recovered"] - back_s) < AGREE_WITHIN_S
    # A full disk refuses a write that needs room: who writes into a page that has some does not notice it yet.
    assert name == "disk-full" or abs(facts["rto_s"] - (back_s - first_s)) < AGREE_WITHIN_S
    assert facts["outcome"] == outcome
    assert (facts["lost"], facts["together"]) == ([], [])
    place.wait_whole()
    if outcome == "fails-over":
        assert place.leader != before
    else:
        assert place.leader == before, "nobody fails over for a disk that does not do its work"
        assert "a person does: m" in ran.artifact
