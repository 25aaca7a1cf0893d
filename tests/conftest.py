"""Fixtures that many suites use."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgresql import Cluster, running_cluster
from tests.support.prefect_server import prefect_server

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.support.sharing import Sharing

# How long an example takes says how busy the machine is.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "Sharing | None":
    """Return who shares the files between processes where `--dist loadfile` asks for that."""
    # One process works without xdist.
    from tests.support.sharing import Sharing

    return Sharing(config, log) if config.getvalue("dist") == "loadfile" else None


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
