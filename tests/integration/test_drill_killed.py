"""A drill that is killed with -9 after each of its steps: the reaper undoes in time, and it can be practised again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.drills.reaper import is_on_duty
from blocks.drills.undo_journal import UndoJournal
from tests.support.docs import ROOT
from tests.support.drill_place import STOP, DrillPlace, drill_place, experiment
from tests.support.killed_drill import MOMENTS
from tests.support.processes import wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
LONGEST_S = 6
_OF_OTHER_FAULTS = {"the first fault of two", "the second fault of two", "the loss of a site"}
NEVER = [{"name": "never", "figure": "writes", "at_least": "0%", "for": "5s"}]


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, prefect_api: str) -> Iterator[DrillPlace]:
    with drill_place(request.getfixturevalue("postgresql_cluster").database(), prefect_api) as place:
        place.write(experiment("stalled", STOP, expect="a-person-must-act", longest=f"{LONGEST_S}s", abort=NEVER))
        yield place
        if is_on_duty(place.journal):
            os.kill(int((place.journal / "reaper.pid").read_text()), signal.SIGKILL)


def killed(place: DrillPlace, moment: str, log: Path) -> None:
    argv = [sys.executable, "-m", "tests.support.killed_drill", str(place.folder / "estate.yaml"), "stalled", moment]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": place.api}
    with log.open("wb") as out:
        done = subprocess.run(argv, cwd=ROOT, env=env, stdout=out, stderr=out, timeout=180)
    assert done.returncode == -signal.SIGKILL, log.read_text()[-3000:]


@pytest.mark.parametrize("moment", sorted(set(MOMENTS) - _OF_OTHER_FAULTS))
def test_drill_that_is_killed_leaves_nothing_broken(place: DrillPlace, moment: str, tmp_path: Path) -> None:
    killed(place, moment, tmp_path / "log")
    if moment == "the fault":
        assert not place.serves(), "nothing was broken when it died"
    journal = UndoJournal(place.journal)
    wait_until(lambda: journal.entries() == ((), ()), what="an empty journal", within_s=LONGEST_S + 30)
    wait_until(place.serves, what="the server", within_s=30)


def test_drill_can_be_practised_again_after_it_was_killed(place: DrillPlace, tmp_path: Path) -> None:
    killed(place, "the watching", tmp_path / "log")
    wait_until(lambda: UndoJournal(place.journal).entries() == ((), ()), what="an empty journal", within_s=60)
    wait_until(place.serves, what="the server", within_s=30)
    ran = place.practise("stalled")
    assert ran.state.is_completed(), ran.error.block()
