"""A move between sites that is killed with -9 at each of its changes: the next run ends it, never with two sites."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.failing_over import MemoryPlace, move_place
from tests.support.moving import ADDRESSES, NAME

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[2]
CHANGES = {"failover": 4, "switchover": 6}
"""How many changes of the world each makes: doors, fence, promotion, names, following."""
MOMENTS = [
    (flow, number, when)
    for flow, most in CHANGES.items()
    for number in range(1, most + 1)
    for when in ("before", "after")
]


@pytest.fixture
def place(database_url: str, prefect_api: str) -> Iterator[MemoryPlace]:
    with move_place(database_url, prefect_api) as place:
        yield place


def killed(place: MemoryPlace, flow: str, to: str, number: int, when: str) -> None:
    """A process of its own ran the flow, and died at its change of that number."""
    argv = [sys.executable, "-m", "tests.support.failing_over", flow, to, str(number), when]
    env = {**os.environ, "PREFECT_API_URL": place.api}
    estate = str(place.folder / "estate.yaml")
    done = subprocess.run([*argv, estate], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, f"it was not killed: {done.returncode}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize(("flow", "number", "when"), MOMENTS)
def test_next_run_ends_what_a_killed_one_has_begun(place: MemoryPlace, flow: str, number: int, when: str) -> None:
    with place.world() as world:
        if flow == "failover":
            world.sites["north"].answers = world.sites["north"].running = False
    killed(place, flow, "south", number, when)
    with place.world() as world:
        assert len(world.takers()) <= 1
        # The old site comes back, as machines do when nobody expects it.
        world.sites["north"].answers = world.sites["north"].running = True
        assert len(world.takers()) <= 1
        acknowledged = [each for each in ("x", "y") if world.write("north", each) or world.write("south", each)]
    asked = {"down_since": datetime.now(UTC)} if flow == "failover" else {}
    ran = place.run(flow, to="south", **asked)
    ran.require_done()
    with place.world() as world:
        assert world.takers() == ["south"]
        assert world.names[NAME] == (list(ADDRESSES["south"]), 5)
        if flow == "switchover":
            assert set(acknowledged) <= set(world.sites["south"].written)
