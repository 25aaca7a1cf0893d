"""The flow `restore` into an anonymous copy (OPS-4): nothing personal is left, and nothing listens before that."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from blocks.targets.records import read_journal
from blocks.targets.servers import servers_of
from tasks.restore.model import Phase
from tests.integration.test_verify_flow import PLAN, SHOP, shop
from tests.support.docs import ROOT
from tests.support.postgresql import SUPERUSER, Cluster
from tests.support.processes import listens
from tests.support.restoring import RestorePlace, Target, restore_place
from tests.support.verifying import superuser_address, within

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
KEY = "a-planted-masking-key"
RULES = {"key": "file:mask-key", "masking": {"customer.mail": {"rule": "email"}, "customer.nick": {"rule": "hash"}}}
TOO_FEW = {"key": "file:mask-key", "masking": {"customer.nick": {"rule": "hash"}}, "keep": {"customer.mail": "a test"}}
PLANTED = b"person-217@example.org"
KILLED_WHILE_IT_MASKS = """
import os, signal
from blocks.targets import unseen
real = unseen.mask_copy
die = lambda _: os.kill(os.getpid(), signal.SIGKILL)
unseen.mask_copy = lambda address, rules, key, say: real(address, rules, key, die)
from flows.restore import RestoreRequest, restore
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with shop() as cluster:
        with within(superuser_address(cluster, "postgres")) as session:
            session.execute("create database forgotten")
        with within(superuser_address(cluster, SHOP)) as session:
            session.execute("alter table customer add nick text")
            session.execute("update customer set nick = 'nick-' || id")
            session.execute("analyze")
        with within(superuser_address(cluster, "forgotten")) as session:
            session.execute("create table letter (text text)")
            session.execute("insert into letter values ('to person-217@example.org')")
        yield cluster


@pytest.fixture(scope="module")
def place(cluster: Cluster, postgresql_cluster: Cluster, prefect_api: str) -> Iterator[RestorePlace]:
    with restore_place(cluster, postgresql_cluster.database(), prefect_api) as place:
        (place.folder / "mask-key").write_text(KEY)
        place.secrets += (KEY, PLANTED.decode())
        place.target("staging", masking="masking.yaml")
        engine = {"driver": "pg_basebackup", "port": cluster.port, "role": SUPERUSER, "password": "file:password"}
        place.describe({**engine, "repositories": ["one"]}, lease="5s")
        place.take()
        yield place


@pytest.fixture
def staging(place: RestorePlace) -> Target:
    return place.targets["staging"]


@contextmanager
def watched(target: Target) -> Iterator[set[Phase | None]]:
    """Yield the moments, by what was on record, at which something listened on the target's address."""
    seen: set[Phase | None] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            # Asked before: what listens now was not there earlier than that.
            journal = read_journal(target.data)
            if listens(target.port):
                seen.add(journal.phase if journal is not None else None)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def holding(folder: Path, text: bytes) -> list[str]:
    """Return the files below a folder in which the text stands."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def write_rules(place: RestorePlace, rules: object) -> None:
    (place.folder / "masking.yaml").write_text(yaml.safe_dump(rules))


def test_copy_with_an_address_left_is_removed_and_the_error_names_the_column(
    place: RestorePlace, staging: Target
) -> None:
    write_rules(place, TOO_FEW)
    with watched(staging) as phases:
        ran = place.restore("staging")
    assert ran.error.what == "mail addresses are left in 1 column of the copy"
    assert str(ran.error.facts["left"]).startswith("customer.mail: 300 rows")
    assert ran.error.state == "the target is empty again"
    assert not staging.data.exists() and staging.beside() == [] and servers_of(staging.data) == []
    assert phases == set()


def test_run_after_one_that_was_killed_while_it_masked_makes_the_copy_and_nothing_listens_before(
    place: RestorePlace, staging: Target
) -> None:
    write_rules(place, RULES)
    request = f"RestoreRequest(plan={PLAN!r}, to='staging', estate={str(place.folder / 'estate.yaml')!r})"
    env = {**os.environ, "PREFECT_API_URL": place.api, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", f"{KILLED_WHILE_IT_MASKS}\nrestore({request})"]
    with watched(staging) as phases:
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert KEY not in done.stdout + done.stderr
        journal = read_journal(staging.data)
        assert journal is not None and journal.phase is Phase.MASKING
        assert servers_of(staging.data) and not listens(staging.port), "it runs, and nobody can reach it"
        ran = place.restore("staging")
        ran.require_up()
    assert phases <= {Phase.OPENING, Phase.DONE}
    masked = "count(*) filter (where mail ~ '^u[0-9a-f]{16}@masked[.]invalid$')"
    assert staging.rows(f"select count(*), {masked} from customer") == [(300, 300)]
    assert staging.rows("select datname from pg_database where not datistemplate order by 1") == [
        ("postgres",),
        (SHOP,),
    ]
    assert staging.beside() == []
    text = ran.artifact
    assert "the database forgotten was dropped from the copy" in text and "none is left" in text
    assert "settle what run" in text
    staging.end()
    assert holding(place.folder / "one", PLANTED), "this test looks for the wrong thing"
    assert holding(staging.data, PLANTED) == []
