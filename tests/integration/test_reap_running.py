"""`slipway reap --all` beside a drill that is on its way: it is refused, unless a person says that it is meant."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.drills.undo_journal import UndoJournal, now
from deployments.terminal import Exit
from tasks.drill.journal import Entry
from tests.support.docs import ROOT

pytestmark = pytest.mark.server
_HOLD = "import sys, time; from pathlib import Path; from blocks.drills.undo_journal import UndoJournal\n\
with UndoJournal(Path(sys.argv[1])).held('run-1'): print('held', flush=True); time.sleep(600)"


def reap(folder: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "deployments.cli", "reap", "--journal", str(folder), "--all", *more]
    return subprocess.run(argv, cwd=ROOT, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True)


def test_faults_of_a_drill_that_is_on_its_way_are_its_own_until_its_process_is_dead(tmp_path: Path) -> None:
    journal = UndoJournal(tmp_path)
    settings = {"folder": str(tmp_path)}
    journal.add(Entry("e", "d", "run-1", 0, "fill", settings, {"file": f"{tmp_path}/x"}, str(tmp_path), now(), 600.0))
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        refused = reap(tmp_path)
        assert refused.returncode == Exit.REFUSED and "run run-1 practises just now" in refused.stdout + refused.stderr
        assert len(journal.entries()[0]) == 1
        assert reap(tmp_path, "--even-running").returncode == Exit.DONE
        assert journal.entries() == ((), ())
    finally:
        holder.kill()
        holder.wait()
    assert journal.holder() == ""
    assert "nothing is left to undo" in reap(tmp_path).stdout
