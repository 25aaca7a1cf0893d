"""A private HAProxy for every test, and three backends for all of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.routers.haproxy import HaproxyRouter
from tests.support.haproxy import (
    Backend,
    Haproxy,
    backends,
    running_haproxy,
)


@pytest.fixture
def haproxy() -> Iterator[Haproxy]:
    with running_haproxy() as running:
        yield running


@pytest.fixture(scope="package")
def _pool() -> Iterator[tuple[Backend, ...]]:
    with backends("blue0", "green0", "blue1") as started:
        yield started


@pytest.fixture
def pool(_pool: tuple[Backend, ...]) -> Iterator[tuple[Backend, ...]]:
    yield _pool
    for backend in _pool:
        backend.start()
        backend.fail_readiness(False)


@pytest.fixture(scope="package")
def first_release(_pool: tuple[Backend, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State files of a router with one member in each slot, and all the traffic on blue."""
    state = tmp_path_factory.mktemp("haproxy") / "state"
    blue, green, _ = _pool
    with running_haproxy() as haproxy:
        router = haproxy.router()
        router.admit([blue.endpoint("blue", 0), green.endpoint("green", 0)])
        router.shift({"blue": 100})
        shutil.copytree(haproxy.state, state)
    return state


@pytest.fixture
def router(haproxy: Haproxy, pool: tuple[Backend, ...], first_release: Path) -> HaproxyRouter:
    """A router that was restarted with those state files, so that no test waits for the first health checks."""
    haproxy.kill()
    shutil.copytree(first_release, haproxy.state, dirs_exist_ok=True)
    haproxy.start()
    return haproxy.router(up_within="5s")
