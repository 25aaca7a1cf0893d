"""Both sites, started once for all tests of this folder, and whole before each of them."""

from collections.abc import Iterator

import pytest

from tasks.common.errors import SlipwayError
from tests.support.prefect_server import prefect_server
from tests.support.processes import short_folder
from tests.support.sites import Sites, running_sites


@pytest.fixture(scope="session")
def both_sites() -> Iterator[Sites]:
    """The two sites of the lab."""
    with short_folder() as folder, running_sites(folder) as sites:
        yield sites


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server of the module's own; returns its address."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as address:
        yield address


@pytest.fixture
def sites(both_sites: Sites) -> Sites:
    """The two sites, whole; the test before may have left them otherwise."""
    if not _are_whole(both_sites):
        both_sites.lab.down()
        both_sites.lab.up(print)
    return both_sites


@pytest.fixture(scope="session")
def sites_on_disks() -> Iterator[Sites]:
    """Two sites whose nodes of site A have small disks of their own, to be broken."""
    with short_folder() as folder, running_sites(folder, own_disks=True) as sites:
        yield sites


def _are_whole(sites: Sites) -> bool:
    try:
        return sites.is_whole()
    except (SlipwayError, AssertionError):
        return False
