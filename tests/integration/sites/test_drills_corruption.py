"""The drill of a page whose bytes were flipped under Patroni's leader: who notices it, and after how long.

Times are logged (--log-cli-level=INFO), and not asserted: a busy machine is no fault.
"""

import logging
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from deployments.lab.sites import estate, texts
from deployments.lab.sites.topology import DATABASE_PORT
from tasks.common.backups import BackupKind
from tasks.common.errors import SlipwayError
from tests.support.broken_sites import BrokenSites, broken_sites
from tests.support.processes import wait_until
from tests.support.sites import Sites

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
PLAN, NAME, TABLE = "campus-db", "page-corrupt", "archived"


@pytest.fixture
def place(sites: Sites, database_url: str, prefect_api: str) -> Iterator[BrokenSites]:
    with broken_sites(sites, database_url, prefect_api) as place:
        yield place


def _back_up(place: BrokenSites) -> str:
    """A backup was taken; returns what it has found wrong."""
    try:
        return place.open().backup(PLAN).take(BackupKind.FULL, lambda _: None).error
    except SlipwayError as error:
        return error.block()


def test_flipped_bytes_are_noticed_by_nobody_until_a_backup_reads_the_page(place: BrokenSites) -> None:
    lab, leader = place.sites.lab, place.leader
    with psycopg.connect(lab.dsn(leader), autocommit=True) as session:
        session.execute(f"create table {TABLE} as select n, repeat('x', 100) from generate_series(1, 2000) n")
    with psycopg.connect(lab.dsn(leader, texts.SUPERUSER), autocommit=True) as session:
        session.execute("checkpoint")
    engine = {
        "driver": "pg_basebackup",
        "host": lab.address(leader),
        "port": DATABASE_PORT,
        "role": texts.REPLICATOR,
        "password": f"file:{lab.home / 'secrets' / texts.REPLICATOR}",
        "repositories": ["one"],
    }
    facts = {**estate.copy(lab)["facts"], "dsn_file": lab.reference(leader).removeprefix("file:"), "quiet_table": TABLE}
    plan = {"engine": engine, "objectives": {"rto": "1h", "rpo": "1h"}}
    place.describe(sections={"backups": {PLAN: plan}}, facts=facts)
    assert not _back_up(place)
    place.use(NAME)
    found: list[tuple[float, str]] = []

    def nightly() -> None:
        wait_until(lambda: place.undo_journal.entries()[0], within_s=180, what="the fault")
        began_s = time.monotonic()
        said = _back_up(place)
        found.append((time.monotonic() - began_s, said))

    backup = threading.Thread(target=nightly)
    backup.start()
    ran = place.practise(NAME)
    backup.join(300)
    ran.require_passed()
    assert place.facts(ran)["outcome"] == "recovers-by-itself" and place.facts(ran)["rto_s"] in (None, 0)
    ((after_s, said),) = found
    _log.info("found %.1f s after the bytes were flipped: %s", after_s, said)
    assert "checksum" in said
    with psycopg.connect(lab.dsn(leader), autocommit=True) as session:
        row = session.execute("select sum(checksum_failures) > 0 from pg_stat_database").fetchone()
    # PostgreSQL's basebackup.c counts a file's wrong pages from two on.
    assert row == (False,), "the server's own counter is nothing to rely on: the backup is"
    assert not _back_up(place), "undone, the page is as it was"
