"""Fixtures that many suites use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgresql import Cluster, running_cluster

_TOGETHER = {
    "test_release": "lab",
    "test_rollback": "lab",
    "test_interrupted": "lab",
    "test_approval": "lab of approvals",
    "test_approval_faults": "lab of approvals",
}
"""Stories that are told in one lab, one after the other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file stay together, in order, when several processes share the suite (pytest -n 2)."""
    here = Path(__file__).parent
    for item in items:
        file = item.path.relative_to(here)
        name = _TOGETHER.get(file.stem, file.as_posix()) if file.parts[0] == "acceptance" else file.as_posix()
        item.add_marker(pytest.mark.xdist_group("bad input" if "bad_input" in file.parts else name))


@pytest.fixture(scope="session")
def postgresql_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One private PostgreSQL for the whole session."""
    with running_cluster(tmp_path_factory.mktemp("postgresql")) as cluster:
        yield cluster


@pytest.fixture
def database_url(postgresql_cluster: Cluster) -> str:
    """The address, password included, of a fresh empty database whose owner is the role in it."""
    return postgresql_cluster.database()
