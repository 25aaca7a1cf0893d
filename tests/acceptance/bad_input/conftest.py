"""A small estate for all tests of this folder, and one that a test can have for itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgresql import Cluster
from tests.support.prefect_server import flows_of
from tests.support.prometheus import prometheus
from tests.support.small import RUN_SECRET, TEST_SECRET, Small, small_estate
from tests.support.small_checks import RUN_VALUE, TEST_VALUE


@pytest.fixture(scope="package")
def prefect(prefect_api: str) -> Iterator[None]:
    with flows_of(prefect_api):
        yield


@pytest.fixture(scope="package")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as address:
        yield address


@pytest.fixture(scope="package")
def shared(
    tmp_path_factory: pytest.TempPathFactory, postgresql_cluster: Cluster, metrics: str, prefect: None
) -> Iterator[Small]:
    """An estate that all tests share which leave its servers running."""
    with small_estate(tmp_path_factory.mktemp("small"), postgresql_cluster.database(), metrics) as small:
        yield small


@pytest.fixture
def fresh(tmp_path: Path, database_url: str, metrics: str, prefect: None) -> Iterator[Small]:
    """An estate of the test's own, where nothing was released yet."""
    with small_estate(tmp_path, database_url, metrics) as small:
        yield small


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_SECRET, RUN_VALUE)
    monkeypatch.setenv(TEST_SECRET, TEST_VALUE)


@pytest.fixture
def small(shared: Small) -> Small:
    """The shared estate, where one sound release serves production."""
    if shared.served() == {"503"}:
        ended = shared.release(shared.commit())
        assert ended.error is None, ended.error
    return shared


@pytest.fixture
def serving(small: Small) -> str:
    """The release that serves when the test begins."""
    (release,) = small.served()
    return release
