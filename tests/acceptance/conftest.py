"""One lab for all stories; they are told in this order, because each begins where the one before has ended."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab import LabPlace, running_lab
from tests.support.needs import need

_ORDER = (
    "test_release",
    "test_backed_up",
    "test_rollback",
    "test_by_the_clock",
    "test_lab_servers",
    "test_interrupted",
    "test_approval",
    "test_approval_faults",
    "test_reconcile",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The stories are in order; all other tests stay where they are."""
    folder = Path(__file__).parent
    stories = {folder / f"{name}.py" for name in _ORDER}
    mine = [number for number, item in enumerate(items) if item.path in stories]
    in_order = sorted((items[number] for number in mine), key=lambda item: _ORDER.index(item.path.stem))
    for number, item in zip(mine, in_order, strict=True):
        items[number] = item


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabPlace]:
    """A running lab, and nothing released in it yet."""
    for program in ("git", "haproxy", "prometheus"):
        need(program)
    with running_lab(tmp_path_factory.mktemp("lab")) as place:
        yield place
