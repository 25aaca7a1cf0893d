"""Drills in the two sites whose run, command or worker is gone: what they broke is undone all the same.

By the run itself where only those have died who had asked for it, else by the reaper, which nobody has to start.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from blocks.drills.reaper import is_on_duty
from blocks.drills.undo_journal import UndoJournal, open_fault
from tasks.common.drill_notes import ROUND
from tests.integration.sites.test_drills_killed import EXPERIMENT, LONGEST_S, NAME
from tests.support.broken_sites import BrokenSites, broken_sites
from tests.support.desk import CLI, Desk
from tests.support.docs import ROOT
from tests.support.processes import wait_until
from tests.support.site_moves import site_place
from tests.support.sites import Sites

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
SITE_LOST = "site-lost"
ENDS_WITHIN_S = 300.0


@pytest.fixture
def place(sites: Sites, database_url: str, api: str) -> Iterator[BrokenSites]:
    sites.wait_whole()
    with broken_sites(sites, database_url, api) as place:
        yield place
        _end_reaper(place.journal)


@pytest.fixture
def desk(sites: Sites, database_url: str, api: str, tmp_path: Path) -> Iterator[Desk]:
    """Where the drill of `test_drills_killed` is practised by its command."""
    sites.wait_whole()
    with site_place(sites, database_url, api) as place, ExitStack() as stack:
        file = place.folder / "estate.yaml"
        wanted = yaml.safe_load(file.read_text())
        wanted["drills"]["experiments"] = "drills"
        file.write_text(yaml.safe_dump(wanted))
        (place.folder / "drills").mkdir()
        (place.folder / "drills" / f"{NAME}.yaml").write_text(yaml.safe_dump(EXPERIMENT))
        found = Desk(sites, place, stack, tmp_path)
        found.slipway("apply")
        yield found
        _end_reaper(_journal(found).folder)


def _end_reaper(journal: Path) -> None:
    if is_on_duty(journal):
        os.kill(int((journal / "reaper.pid").read_text()), signal.SIGKILL)


def _journal(desk: Desk) -> UndoJournal:
    return UndoJournal(desk.place.folder / "drills" / "journal")


def test_reaper_alone_plugs_a_lost_site_in_again(place: BrokenSites, tmp_path: Path) -> None:
    never = [{"name": "never", "figure": "writes", "at_least": "0%", "for": "11s"}]
    place.use(SITE_LOST, longest=f"{LONGEST_S}s", abort=never)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tests.support.killed_drill", str(place.folder / "estate.yaml"), SITE_LOST]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": place.api}
    with log.open("wb") as out:
        argv = [*command, "the loss of a site"]
        done = subprocess.run(argv, cwd=ROOT, env=env, stdout=out, stderr=out, timeout=400)
    assert done.returncode == -signal.SIGKILL, log.read_text()[-3000:]
    (entry,), _ = place.undo_journal.entries()
    fault = open_fault(entry)
    assert fault.injected(entry.aim), "nothing was broken when it died"
    reaper = int((place.journal / "reaper.pid").read_text())
    wait_until(lambda: place.undo_journal.entries() == ((), ()), what="the reaper", within_s=ENDS_WITHIN_S)
    (undone,) = place.undo_journal.undone(entry.run_id)
    assert (undone["entry"], undone["pid"]) == (entry.id, reaper)
    assert not fault.injected(entry.aim)
    place.sites.wait_whole()


def test_command_that_is_killed_ends_no_drill(desk: Desk) -> None:
    desk.start_worker()
    command = desk.start("drill", [*CLI, "drill", "start", NAME])
    _wait_for_faults(desk)
    command.kill()
    command.wait(30)
    run_id = _require_undone_by_the_run(desk)
    notes = desk.place.open().ledger.drills.notes(run_id)
    (facts,) = [each.facts for each in notes if each.kind == ROUND]
    assert facts["lost"] == [] and facts["together"] == []


def test_run_whose_worker_is_killed_undoes_its_faults_and_ends(desk: Desk) -> None:
    worker = desk.start_worker()
    desk.start("drill", [*CLI, "drill", "start", NAME])
    _wait_for_faults(desk)
    worker.kill()
    worker.wait(30)
    # It is told to end, and ends as soon as it has put right what it broke: nothing is counted then.
    _require_undone_by_the_run(desk)


def _wait_for_faults(desk: Desk) -> None:
    wanted = len(EXPERIMENT["fault"]["actions"])
    wait_until(lambda: len(_journal(desk).entries()[0]) == wanted, within_s=ENDS_WITHIN_S, what="both faults")


def _require_undone_by_the_run(desk: Desk) -> str:
    """The run is on record as ended, and has undone its faults itself; returns its id."""
    drills = desk.place.open().ledger.drills
    wait_until(lambda: drills.ended(NAME, 5), within_s=ENDS_WITHIN_S, what="the end of the run")
    (ended,) = drills.ended(NAME, 5)
    assert _journal(desk).entries() == ((), ())
    undone = _journal(desk).undone(ended.run_id)
    assert len(undone) == len(EXPERIMENT["fault"]["actions"])
    reaper = int((_journal(desk).folder / "reaper.pid").read_text())
    assert reaper not in {each["pid"] for each in undone}
    desk.sites.wait_whole()
    return ended.run_id
