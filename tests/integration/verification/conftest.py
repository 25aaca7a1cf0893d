"""One source with Pagila and page checksums, for all tests here."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.databases.postgresql import PostgresqlDatabase
from blocks.postgresql import USERS
from blocks.scratch.postgresql import PostgresqlScratch
from blocks.users import as_user, find_user
from tasks.verification.model import DatabaseFacts
from tests.support.postgresql import Cluster, running_cluster
from tests.support.processes import short_folder
from tests.support.verifying import base_backup, load_pagila, program, scratch_in, source


@pytest.fixture(scope="module")
def pagila(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("pagila")) as cluster:
        load_pagila(cluster)
        cluster.stop()
        enable = [*as_user(find_user(USERS)), program("pg_checksums"), "--enable", "-D", str(cluster.data)]
        subprocess.run(enable, check=True, capture_output=True)
        cluster.start()
        yield cluster


@pytest.fixture(scope="module")
def database(pagila: Cluster, tmp_path_factory: pytest.TempPathFactory) -> PostgresqlDatabase:
    found = source(tmp_path_factory.mktemp("address"), pagila)
    found.beat()
    return found


@pytest.fixture(scope="module")
def facts(database: PostgresqlDatabase) -> DatabaseFacts:
    return database.facts()


@pytest.fixture(scope="module")
def backup(pagila: Cluster, database: PostgresqlDatabase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base backup of the sound source, with a heartbeat in it."""
    return base_backup(pagila, tmp_path_factory.mktemp("backup") / "base")


@pytest.fixture
def scratch() -> Iterator[PostgresqlScratch]:
    with short_folder() as place:
        opened = scratch_in(place)
        try:
            yield opened
        finally:
            opened.remove()
