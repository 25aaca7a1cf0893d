"""Pagila, in a cluster of its own."""

from collections.abc import Iterator

import pytest

from tests.support import pagila
from tests.support.postgresql import Cluster, running_cluster


@pytest.fixture(scope="session")
def pagila_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that has Pagila."""
    with running_cluster(tmp_path_factory.mktemp("pagila")) as cluster:
        pagila.load(cluster)
        yield cluster
