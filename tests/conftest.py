"""Fixtures that many suites use."""

from collections.abc import Iterator

import pytest

from tests.support.postgresql import Cluster, running_cluster
from tests.support.prefect_server import prefect_server


@pytest.fixture(scope="session")
def postgresql_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One private PostgreSQL for the whole session."""
    with running_cluster(tmp_path_factory.mktemp("postgresql")) as cluster:
        yield cluster


@pytest.fixture
def database_url(postgresql_cluster: Cluster) -> str:
    """The address, password included, of a fresh empty database whose owner is the role in it."""
    return postgresql_cluster.database()


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one private Prefect server for the whole session."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as api:
        yield api
