"""`slipway drill` and `slipway reap`, in the places that need no Prefect server."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from blocks.drills.undo_journal import UndoJournal, now, open_fault
from blocks.estate import open_estate
from tasks.common.drill_notes import ENDED, ROUND, DrillNote
from tasks.common.drills import DrillObjectives
from tasks.drill.journal import Entry
from tasks.drill.judge import judge
from tasks.drill.log import Log, end_line, operation_line, sample_line, start_line
from tasks.drill.recount import Kept, facts_of
from tests.integration.test_verify_flow import ESTATE
from tests.support import faults
from tests.support.docs import ROOT
from tests.support.drill_place import KILL, experiment
from tests.unit.drill.examples import load
from tests.unit.drill.logs import NOON, log
from tests.unit.drill.test_judge import MOMENTS, all_ids

pytestmark = pytest.mark.server
RUN = "0123456789ab"


def slipway(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SLIPWAY_VAR": str(folder / "var"),
        "PREFECT_API_URL": "http://127.0.0.1:9",
    }
    argv = [sys.executable, "-m", "deployments.cli", *words]
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture
def estate(tmp_path: Path, database_url: str) -> Path:
    (tmp_path / "dsn").write_text(database_url)
    cluster = {"url": "http://127.0.0.1:9/", "facts": {"data": "/none"}, "objectives": {"rto": "1m"}}
    drills = {"clusters": {"copy": cluster}}
    (tmp_path / "estate.yaml").write_text(ESTATE + yaml.safe_dump({"drills": drills}))
    (tmp_path / "drills").mkdir()
    wanted = experiment("postmaster-killed", KILL, expect="fails-over")
    wanted["fault"]["on"] = "cluster"
    (tmp_path / "drills" / "one.yaml").write_text(yaml.safe_dump(wanted))
    return tmp_path / "estate.yaml"


def text_of(found: Log) -> str:
    lines = [start_line(found.run, found.began_at, found.began_s), *map(operation_line, found.operations)]
    return "".join([*lines, *map(sample_line, found.samples), end_line(found.until_s)])


def practised(estate: Path, folder: Path) -> Path:
    """A drill is on record that has failed over, and what it has left lies in the folder; returns its log."""
    found = log(70, [(10, 30)], {"a1": (0, 10), "a2": (30, 70)}, {"a1": (10, 52)})
    kept = Kept(1, MOMENTS, sorted(all_ids(found)), (), "", (), {"rto": 60.0, "rpo": 0.0})
    path = folder / "round-01.jsonl"
    path.write_text(text_of(found))
    path.with_suffix(".json").write_text(kept.text())
    wanted = load((estate.parent / "drills" / "one.yaml").read_text())
    bounds = DrillObjectives.model_validate({"rto": "1m"})
    one = judge(
        wanted, bounds, found, number=1, moments=MOMENTS, there=all_ids(found), probes=(), aborted="", by_hand=()
    )
    from blocks.drills.recounting import sealed

    ledger = open_estate(str(estate)).ledger
    ledger.prepare()
    about = (RUN, "postmaster-killed", "copy")
    ledger.drills.note(DrillNote(*about, ROUND, NOON, facts_of(one, sealed(path)), 1))
    facts = {"error": "", "rounds": 1, "passed": 1, "rto_s": one.rto_s, "lost": 0, "evidence": str(folder)}
    ledger.drills.note(DrillNote(*about, ENDED, NOON, facts))
    return path


def test_dry_run_prints_the_plan_without_a_prefect_server(estate: Path) -> None:
    done = slipway(estate.parent, "drill", "start", "postmaster-killed", "--dry-run", "--estate", str(estate))
    assert done.returncode == 0, done.stderr
    assert "write to the undo journal, then inject: kill (pid_file: /none/postmaster.pid)" in done.stdout


def test_drills_are_listed_with_what_they_came_to(estate: Path, tmp_path: Path) -> None:
    practised(estate, tmp_path)
    done = slipway(estate.parent, "drill", "list", "--json", "--estate", str(estate))
    found = json.loads(done.stdout)
    assert [each["drill"] for each in found["drills"]] == ["postmaster-killed"]
    assert [each["run_id"] for each in found["runs"]] == [RUN]
    assert "20.0 s" in slipway(estate.parent, "drill", "list", "--estate", str(estate)).stdout


def test_drill_is_counted_again_and_a_log_that_was_changed_is_found(estate: Path, tmp_path: Path) -> None:
    path = practised(estate, tmp_path)
    done = slipway(estate.parent, "drill", "recount", RUN[:6], "--estate", str(estate))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "round 1: fails-over, RTO 20.01 s, 0 of 1000 lost: passed" in done.stdout
    path.write_text(path.read_text().replace('"w000700","kind":"write"', '"w999999","kind":"write"'))
    done = slipway(estate.parent, "drill", "recount", RUN, "--estate", str(estate))
    assert done.returncode == 1
    assert "DIFFERS lost: [] is on record, ['w999999'] was counted" in done.stdout.replace("\n", "")
    path.unlink()
    assert slipway(estate.parent, "drill", "recount", RUN, "--estate", str(estate)).returncode == 4


def test_reap_undoes_what_was_left_over_with_nothing_but_the_folder(tmp_path: Path) -> None:
    with faults.process(tmp_path, "stop") as thing:
        journal = UndoJournal(tmp_path / "journal")
        spec = thing.spec
        base = Entry("run-1-00", "drill", "run-1", 0, spec.driver, spec.settings, {}, "/", now(), 600.0)
        entry = replace(base, aim=open_fault(base).aim())
        journal.add(entry)
        open_fault(entry).inject(entry.aim)
        done = slipway(tmp_path, "reap", "--journal", str(journal.folder))
        assert (done.returncode, done.stdout) == (0, "in place: stop of drill\n")
        assert not thing.well()
        done = slipway(tmp_path, "reap", "--all", "--journal", str(journal.folder))
        assert done.returncode == 0 and "go on" in done.stdout
        assert thing.well()
    assert slipway(tmp_path, "reap", "--journal", str(journal.folder)).stdout == "nothing is left to undo\n"
    (journal.folder / "half.json").write_text("{")
    assert slipway(tmp_path, "reap", "--journal", str(journal.folder)).returncode == 4
    assert slipway(tmp_path, "reap", "--journal", str(tmp_path / "none")).returncode == 2
