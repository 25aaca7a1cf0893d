"""Drills over Patroni that may not begin: each is told why, and nothing is broken."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployments.lab.sites import estate
from tasks.common.errors import Refused
from tasks.common.lease import Lease
from tests.support.broken_sites import BrokenSites, broken_sites
from tests.support.processes import wait_until
from tests.support.sites import Sites

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
NAME = "postmaster-killed"


@pytest.fixture(scope="module")
def place(both_sites: Sites, request: pytest.FixtureRequest, prefect_api: str) -> Iterator[BrokenSites]:
    ledger = request.getfixturevalue("postgresql_cluster").database()
    with broken_sites(both_sites, ledger, prefect_api) as place:
        place.use(NAME)
        yield place


@pytest.fixture(autouse=True)
def nothing_is_broken(place: BrokenSites) -> Iterator[None]:
    place.wait_whole()
    place.use(NAME)
    leader = place.leader
    pid = (place.sites.lab.data(leader) / "postmaster.pid").read_text()
    yield
    place.describe()
    place.wait_whole()
    assert place.leader == leader
    assert (place.sites.lab.data(leader) / "postmaster.pid").read_text() == pid


def refused(place: BrokenSites, **asked: Any) -> str:
    error = place.practise(NAME, **asked).error
    assert isinstance(error, Refused) and error.next_action
    return error.block()


def test_cluster_of_another_identifier(place: BrokenSites) -> None:
    place.describe(id="7999999999999999999")
    text = refused(place)
    for node in ("a1", "a2", "a3"):
        assert f"node {node} is of the cluster {place.sites.lab.system_id}" in text


def test_cluster_that_is_not_on_the_list(place: BrokenSites) -> None:
    place.use(NAME, cluster="campus-production")
    assert "may not be practised on: the estate does not list it" in refused(place)


def test_cluster_whose_backup_was_never_verified(place: BrokenSites) -> None:
    server = {"driver": "pg_basebackup", "port": 5432, "role": "postgres", "repositories": ["one"]}
    plan = {"engine": server, "objectives": {"rto": "1h", "rpo": "1h"}}
    place.describe(sections={"backups": {"campus-db": plan}}, backup="campus-db")
    assert "no backup of campus-db was ever verified" in refused(place)


def test_cluster_that_is_not_well(place: BrokenSites) -> None:
    standby = next(name for name in ("a1", "a2", "a3") if name != place.leader)
    lab = place.sites.lab
    lab.network.cut(standby, ["operator"])
    try:
        assert f"node {standby} does not answer" in refused(place)
    finally:
        lab.network.mend(standby)


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ("campus/production", "a-release is at work on campus/production: no drill beside it"),
        ("drill/two-sites", "the run a-release practises here: no second drill beside it"),
    ],
)
def test_place_where_somebody_is_at_work(place: BrokenSites, scope: str, said: str) -> None:
    ledger = place.open().ledger
    ledger.prepare()
    lease = ledger.leases.acquire(scope, "a-release", 60)
    assert isinstance(lease, Lease)
    try:
        assert said in refused(place)
    finally:
        ledger.leases.give_up(lease)


def test_live_drill_at_night(place: BrokenSites) -> None:
    now = datetime.now(UTC)
    hours = {"from": f"{now + timedelta(hours=2):%H:%M}", "until": f"{now + timedelta(hours=3):%H:%M}"}
    place.describe(sections={"windows": {"always": {**hours, "time_zone": "UTC"}}}, live=True)
    place.use(NAME, mode="live")
    assert "outside of business hours: always" in refused(place)


def test_copy_that_users_are_on(place: BrokenSites) -> None:
    place.describe(live=True)
    assert f"users are on {estate.COPY}, and the mode is 'isolated-copy'" in refused(place)


def test_cluster_without_a_leader(place: BrokenSites) -> None:
    lab, leader = place.sites.lab, place.leader
    place.describe(nodes={**estate.copy(lab)["nodes"], leader: {"address": f"file:{lab.home / 'nothing'}"}})
    assert "nodes could not be looked at" in refused(place)
    wait_until(lambda: place.leader == leader, what="the leader")
