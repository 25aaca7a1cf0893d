"""Drills over Patroni that die: everything that they broke is undone within its expiry, and the next drill runs.

The faults are two: the leader is cut from etcd and from the others, and its postmaster is killed.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.drills.reaper import is_on_duty
from blocks.faults.networks import Namespace
from blocks.runtimes.listening import listeners
from deployments.lab.sites import estate
from deployments.lab.sites.topology import MEMBERS
from deployments.terminal import Exit
from tests.support.broken_sites import BrokenSites, broken_sites
from tests.support.docs import ROOT
from tests.support.killed_drill import MOMENTS
from tests.support.prefect_server import prefect_server
from tests.support.processes import running, wait_until
from tests.support.sites import Sites

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
NAME = "cut-and-killed"
LONGEST_S = 12
CLI = [sys.executable, "-m", "deployments.cli"]
EXPERIMENT: dict[str, Any] = {
    "drill": NAME,
    "title": "The leader is cut off, and its postmaster is killed",
    "cluster": estate.COPY,
    "hypothesis": {
        "says": "nobody takes over within so short a time, and all is well when it is undone",
        "probes": [{"name": "users write", "figure": "writes", "at_least": "99%", "when": ["before", "after"]}],
    },
    "fault": {
        "on": "leader",
        "actions": [
            {"driver": "cut", "namespace": "{namespace}", "peers": ["{etcd}", "{others.ip}"], "direction": "both"},
            {"driver": "kill", "pid_file": "{data}/postmaster.pid"},
        ],
    },
    "expect": "a-person-must-act",
    "abort": [{"name": "never", "figure": "writes", "at_least": "0%", "for": "11s"}],
    "blast_radius": {"nodes": 1, "users": "all writes fail"},
    "longest": f"{LONGEST_S}s",
    "settle": "3m",
    "sustained": "3s",
    "objectives": {"rto": "10m", "rpo": "0s"},
}


@pytest.fixture(scope="module")
def place(both_sites: Sites, request: pytest.FixtureRequest, prefect_api: str) -> Iterator[BrokenSites]:
    ledger = request.getfixturevalue("postgresql_cluster").database()
    with broken_sites(both_sites, ledger, prefect_api) as place:
        place.write(EXPERIMENT)
        yield place
        if is_on_duty(place.journal):
            os.kill(int((place.journal / "reaper.pid").read_text()), signal.SIGKILL)


@pytest.fixture(autouse=True)
def whole(place: BrokenSites) -> None:
    place.wait_whole()


def _command(place: BrokenSites, *moment: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.killed_drill", str(place.folder / "estate.yaml"), NAME, *moment]


def _env(api: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": api}


def _require_undone(place: BrokenSites, within_s: float = LONGEST_S + 60) -> None:
    """By the reaper: nobody else is there."""
    wait_until(lambda: place.undo_journal.entries() == ((), ()), what="an empty journal", within_s=within_s)
    context = place.open().context
    for node in MEMBERS["a"]:
        namespace = Namespace(place.sites.lab.topology.namespace(node), context)
        assert "slipway_drill" not in namespace.nft("list tables")
    place.wait_whole()


@pytest.mark.parametrize("moment", sorted(set(MOMENTS) - {"the fault", "the loss of a site"}))
def test_drill_that_is_killed_leaves_nothing_broken(place: BrokenSites, moment: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        done = subprocess.run(
            _command(place, moment), cwd=ROOT, env=_env(place.api), stdout=out, stderr=out, timeout=400
        )
    assert done.returncode == -signal.SIGKILL, log.read_text()[-3000:]
    if moment in ("the second fault of two", "the watching"):
        assert len(place.undo_journal.entries()[0]) == 2, "nothing was broken when it died"
    _require_undone(place)


def test_next_drill_runs_after_one_was_killed(place: BrokenSites, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as out:
        subprocess.run(
            _command(place, "the second fault of two"), cwd=ROOT, env=_env(place.api), stdout=out, stderr=out
        )
    _require_undone(place)
    ran = place.practise(NAME)
    assert place.facts(ran)["outcome"] in ("fails-over", "a-person-must-act")
    assert place.facts(ran)["together"] == [] and place.facts(ran)["lost"] == []


def test_prefect_server_that_is_killed_keeps_no_fault_in_place(place: BrokenSites, tmp_path: Path) -> None:
    with prefect_server(tmp_path) as api:
        port = int(api.split(":")[2].split("/")[0])
        with running(_command(place), log=tmp_path / "drill.log", env=_env(api), cwd=ROOT) as drill:
            wait_until(lambda: len(place.undo_journal.entries()[0]) == 2, within_s=120, what="both faults")
            for pid in listeners(port):
                os.kill(pid, signal.SIGKILL)
            _require_undone(place)
            assert drill.wait(300) != 0, "it cannot tell anybody how it went"


def test_reaping_by_hand_is_refused_under_a_drill_that_lives(place: BrokenSites, tmp_path: Path) -> None:
    reap = [*CLI, "reap", "--all", "--estate", str(place.folder / "estate.yaml")]
    with running(_command(place), log=tmp_path / "drill.log", env=_env(place.api), cwd=ROOT):
        wait_until(lambda: len(place.undo_journal.entries()[0]) == 2, within_s=120, what="both faults")
        done = subprocess.run(reap, cwd=ROOT, env=_env(place.api), capture_output=True, text=True, timeout=120)
        assert done.returncode == Exit.REFUSED, done.stdout + done.stderr
        assert "practises just now" in done.stdout + done.stderr
        assert place.undo_journal.holder()
        wait_until(lambda: place.undo_journal.entries() == ((), ()), within_s=120, what="the drill's own undoing")
    place.wait_whole()
