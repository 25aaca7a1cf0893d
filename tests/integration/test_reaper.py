"""The reaper: nobody else needs to be alive for a fault to be undone in its time."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.drills.reaper import ensure, is_on_duty, line_of, on_duty, watch
from blocks.drills.undo_journal import UndoJournal, now
from tasks.common.errors import Refused, Unsafe
from tasks.drill.journal import Entry
from tests.support import faults
from tests.support.drilling import ROOT
from tests.support.faults import Thing
from tests.support.processes import die, require_killed, wait_until

pytestmark = pytest.mark.server


@pytest.fixture
def thing(tmp_path: Path) -> Iterator[Thing]:
    with faults.process(tmp_path, "stop") as thing:
        yield thing


@pytest.fixture
def journal(tmp_path: Path) -> UndoJournal:
    found = UndoJournal(tmp_path / "journal")
    found.prepare()
    return found


def injected(thing: Thing, journal: UndoJournal, expires_s: float, number: int = 0) -> Entry:
    """A drill has injected its fault, and was killed: nobody of it is left."""
    from blocks.drills.undo_journal import open_fault

    spec = thing.spec
    base = Entry(f"run-1-{number:02}", "drill", "run-1", number, spec.driver, spec.settings, {}, "/", now(), expires_s)
    entry = replace(base, aim=open_fault(base).aim())

    def drill() -> None:
        journal.add(entry)
        open_fault(entry).inject(entry.aim)
        die(now=True)

    require_killed(drill, "with its fault in place")
    return entry


def end_reaper(journal: UndoJournal) -> None:
    pid = int((journal.folder / "reaper.pid").read_text())
    if is_on_duty(journal.folder):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_on_duty(journal.folder), what="the reaper's end")


def test_reaper_that_a_drill_has_started_undoes_in_time_though_the_drill_is_dead(
    thing: Thing, journal: UndoJournal
) -> None:
    ensure(journal.folder)
    try:
        assert is_on_duty(journal.folder)
        injected(thing, journal, expires_s=2.0)
        assert not thing.well()
        wait_until(thing.well, what="the undoing", within_s=10)
        assert journal.entries() == ((), ())
        wait_until(lambda: not is_on_duty(journal.folder), what="the end of a reaper with nothing to do", within_s=30)
    finally:
        end_reaper(journal)


def test_fault_is_left_in_place_until_it_expires(thing: Thing, journal: UndoJournal) -> None:
    injected(thing, journal, expires_s=600.0)
    assert journal.reap() == ((), ())
    assert not thing.well()
    ((reaped,), _) = journal.reap(whatever=True)
    assert thing.well() and "go on" in line_of(reaped)


def test_reaper_that_is_killed_itself_is_followed_by_another(thing: Thing, journal: UndoJournal) -> None:
    ensure(journal.folder)
    injected(thing, journal, expires_s=1.0)
    end_reaper(journal)
    ensure(journal.folder)
    try:
        wait_until(thing.well, what="the undoing", within_s=10)
    finally:
        end_reaper(journal)


def test_two_reapers_do_not_look_after_one_folder(journal: UndoJournal) -> None:
    with on_duty(journal.folder) as first, on_duty(journal.folder) as second:
        assert (first, second) == (True, False)
        code = "import sys; from blocks.drills.reaper import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, str(journal.folder)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
        )
        assert done.returncode == 0
    assert not is_on_duty(journal.folder)


def test_damaged_entry_and_one_that_fails_do_not_stand_in_the_way_of_others(thing: Thing, journal: UndoJournal) -> None:
    injected(thing, journal, expires_s=0.0)
    gone = Entry("run-0-00", "drill", "run-0", 0, "no-such-driver", {}, {}, "/", now(), 0.0)
    wrong = Entry("run-2-00", "drill", "run-2", 0, "stop", {"pid_file": "/x"}, {"processes": 7}, "/", now(), 0.0)
    for each in (gone, wrong):
        journal.add(each)
    (journal.folder / "half.json").write_text('{"entry": {')
    done, problems = journal.reap()
    assert thing.well()
    assert {each.entry.id: each.undone is None for each in done} == {
        "run-0-00": True,
        "run-1-00": False,
        "run-2-00": True,
    }
    assert all(isinstance(each.problem, Refused) for each in done if each.undone is None)
    assert [type(each) for each in problems] == [Unsafe]
    assert {each.id for each in journal.entries()[0]} == {"run-0-00", "run-2-00"}


def test_each_thing_is_said_once_however_often_it_is_looked(journal: UndoJournal) -> None:
    journal.add(Entry("run-0-00", "drill", "run-0", 0, "no-such-driver", {}, {}, "/", now(), 0.0))
    said: list[str] = []
    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(journal, said.append), kwargs={"until_empty": False, "stop": stop})
    thread.start()
    wait_until(lambda: said, what="its first word")
    threading.Event().wait(1.2)  # more looks at the same
    stop.set()
    thread.join()
    assert len(said) == 1 and "NOT UNDONE" in said[0]


def test_fault_that_was_undone_by_its_drill_is_not_undone_again(thing: Thing, journal: UndoJournal) -> None:
    entry = injected(thing, journal, expires_s=0.0)
    journal.undo(entry)
    assert journal.undo(entry).said == "it was undone already"
    assert journal.reap() == ((), ())


def test_reaper_loads_no_prefect() -> None:
    code = "import sys, blocks.drills.reaper; print(sorted(each for each in sys.modules if each.startswith('prefect')))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
