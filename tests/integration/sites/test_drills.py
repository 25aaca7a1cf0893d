"""The documented drills of the database, over Patroni in the lab's two sites, with another client beside each.

What they measure is logged (--log-cli-level=INFO). The times that the two clients have measured are compared with each
other, and with nothing else: a busy machine is no fault.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blocks.drills.recounting import recounted
from blocks.drills.undo_journal import UndoJournal
from deployments.lab.sites import texts
from deployments.lab.sites.sites import DATABASE
from deployments.lab.sites.topology import MEMBERS
from tasks.drill.measure import Kind, Result
from tasks.drill.model import NodeState
from tests.support.another_client import AGREE_WITHIN_S, writing_beside
from tests.support.docs import ROOT
from tests.support.drill_place import Practised
from tests.support.drilling import read_log
from tests.support.processes import short_folder, wait_until
from tests.support.site_drills import SitePlace
from tests.support.sites import Sites

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
_LATE_S = 0.1
_ATTEMPTS = 3


@dataclass(frozen=True)
class Scenario:
    """What becomes of a drill.

    Args:
        name: of it.
        outcome: of the cluster.
        silent: whether the leader that was hit cannot be asked.
        faults: how many there are.
        wakes: whether the leader that was hit goes on where it was when the fault is undone: it may answer as a primary
            before Patroni has stopped it, and that is a split brain to whoever asks just then.
    """

    name: str
    outcome: str
    silent: bool = False
    faults: int = 1
    wakes: bool = False


SCENARIOS = (
    Scenario("postmaster-killed", "fails-over", silent=True),
    Scenario("node-lost", "fails-over", silent=True, faults=2),
    Scenario("leader-without-etcd", "fails-over"),
    Scenario("leader-without-replicas", "recovers-by-itself"),
    Scenario("leader-without-clients", "a-person-must-act"),
    Scenario("leader-deaf", "fails-over"),
    Scenario("leader-stalled", "fails-over", silent=True, wakes=True),
)


@pytest.fixture(scope="module")
def place(both_sites: Sites, prefect_api: str) -> Iterator[SitePlace]:
    secrets = [both_sites.lab.secret(name) for name in (DATABASE, texts.OBSERVER, texts.SUPERUSER)]
    with short_folder() as folder:
        place = SitePlace(folder, both_sites, prefect_api, secrets)
        place.describe()
        yield place


@pytest.fixture(autouse=True)
def nothing_is_left(place: SitePlace) -> Iterator[None]:
    place.sites.wait_whole()
    yield
    place.describe()
    assert UndoJournal(place.journal).entries() == ((), ())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_drill_is_measured_as_another_client_measures_it_and_a_planted_loss_is_found(
    place: SitePlace, tmp_path: Path, scenario: Scenario
) -> None:
    before, ran, theirs_s = _practise(place, tmp_path, scenario.name)
    facts = place.facts(ran)
    passed = ran.state.is_completed()
    assert passed or (scenario.wakes and _is_awakening(facts)), ran.error.block()
    assert abs(facts["rto_s"] - theirs_s) < AGREE_WITHIN_S, (facts["rto_s"], theirs_s)
    assert facts["outcome"] == scenario.outcome
    assert facts["together"] == [] or not passed, "no two nodes took writes"
    _require_honest(facts)
    _require_roles(place, ran, scenario, before)
    assert len(UndoJournal(place.journal).undone(ran.id)) == scenario.faults
    assert f"{scenario.name} {'passed' if passed else 'FAILED'}: {scenario.outcome}, RTO" in ran.artifact
    _require_planted_loss_found(place, ran)


def _practise(place: SitePlace, folder: Path, name: str) -> tuple[str, Practised, float]:
    """Return who led before, the run, and the RTO that the other client has seen.

    On a machine on which one of the clients had to wait for its turn, nothing is proven: it is practised again.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        place.sites.wait_whole()
        before, began_s = place.sites.leader("a"), time.monotonic()
        (folder / str(attempt)).mkdir()
        with writing_beside(place.sites, folder / str(attempt)) as other:
            ran = place.practise(name, requested_by="ada")
            until_s = time.monotonic()
        facts, theirs_s = place.facts(ran), other.rto_s(began_s, until_s)
        late_s = max(facts["late_s"], other.late_s())
        _log.info("%s: RTO %s, another client %.2f s; late %.2f s", name, facts["rto_s"], theirs_s, late_s)
        _log.info("%s: %s, leaders %s", name, facts["moments"], facts["leaders"])
        well = ran.state.is_completed() and abs(facts["rto_s"] - theirs_s) < AGREE_WITHIN_S
        if well or late_s < _LATE_S or attempt == _ATTEMPTS:
            return before, ran, theirs_s
    raise AssertionError("not reached")


def _is_awakening(facts: Any) -> bool:
    """Return whether all that went wrong is that a leader which was woken answered as one, for less than a second."""
    (problem,), (both,) = facts["problems"], facts["together"]
    after_s, length_s = both["from_s"] - facts["moments"]["undone"], both["until_s"] - both["from_s"]
    return problem.startswith("SPLIT BRAIN") and 0 <= after_s < 1 and length_s < 1


def _require_honest(facts: Any) -> None:
    assert (facts["lost"], facts["unsent_there"]) == ([], [])
    assert facts["acknowledged"] > 500


def _require_roles(place: SitePlace, ran: Practised, scenario: Scenario, before: str) -> None:
    """Every node was asked directly all the time, and what they said is what became of the cluster."""
    facts = place.facts(ran)
    log = read_log(place.evidence(ran) / "round-01.jsonl")
    assert log.whole
    injected_s, undone_s = facts["moments"]["injected"], facts["moments"]["undone"]
    meanwhile = [each for each in log.samples if injected_s < each.asked_s and each.answered_s < undone_s]
    assert {each.node for each in meanwhile} == set(MEMBERS["a"])
    took_writes = {each.node for each in meanwhile if each.state is NodeState.WRITABLE} - {before}
    assert bool(took_writes) is (scenario.outcome == "fails-over")
    silent = any(each.node == before and each.state is NodeState.SILENT for each in meanwhile)
    assert silent or not scenario.silent
    last = {each.node: each.state for each in log.samples}
    assert sorted(last.values()) == [NodeState.READ_ONLY, NodeState.READ_ONLY, NodeState.WRITABLE]


def _require_planted_loss_found(place: SitePlace, ran: Practised) -> None:
    log = read_log(place.evidence(ran) / "round-01.jsonl")
    (whole,) = recounted(place.open(), ran.id, ask=True)
    assert not whole.differs
    gone = place.lose(log.run, "7")
    acknowledged = {each.id for each in log.of(Kind.WRITE) if each.result is Result.OK}
    assert len(gone & acknowledged) > 50
    (found,) = recounted(place.open(), ran.id, ask=True)
    assert found.round.loss is not None
    assert set(found.round.loss.lost) == gone & acknowledged
    assert any(f"{len(gone & acknowledged)} acknowledged writes are lost" in each for each in found.round.problems)
    assert any(each.startswith("lost: [] is on record") for each in found.differs)
    (kept,) = recounted(place.open(), ran.id)
    assert not kept.differs, "what was there when all nodes were back stands"


def test_loss_before_the_count_is_in_the_verdict_and_a_forged_line_is_named(place: SitePlace) -> None:
    gone = list[str]()
    with _losing(place, gone):
        ran = place.practise("postmaster-killed")
    facts, path = place.facts(ran), place.evidence(ran) / "round-01.jsonl"
    log = read_log(path)
    acknowledged = {each.id for each in log.of(Kind.WRITE) if each.result is Result.OK}
    lost = acknowledged & set(gone)
    assert lost and set(facts["lost"]) == lost
    assert facts["rpo_s"] > 0
    assert f"{len(lost)} acknowledged writes are lost" in ran.error.block()
    assert f"{len(lost)} of {len(acknowledged)}" in ran.artifact
    code, said = _recount(place, ran)
    assert (code, said["lost"], said["differs"]) == (0, facts["lost"], [])
    lines = path.read_text().splitlines(keepends=True)
    number = next(at for at, line in enumerate(lines) if f'"{facts["lost"][0]}"' in line)
    forged = lines[number].replace('"res":"ok"', '"res":"fail"')
    path.write_text("".join([*lines[:number], forged, *lines[number + 1 :]]))
    code, said = _recount(place, ran)
    assert (code, said["lost"]) == (1, facts["lost"][1:]), "the write is not counted as acknowledged any more"
    first = number // 50 * 50 + 1
    assert f"the client's log: from line {first} to {first + 49}, it is not as it was" in "\n".join(said["differs"])
    path.write_text("".join([*lines[:number], *lines[number + 1 :]]))
    assert f"the client's log: from line {first} on, it is not as it was" in "\n".join(
        _recount(place, ran)[1]["differs"]
    )


class _losing:  # noqa: N801 - reads as what it does
    """Rows are deleted as soon as the fault of the drill within the block is undone, before the drill counts."""

    def __init__(self, place: SitePlace, gone: list[str]) -> None:
        self._place, self._gone = place, gone
        self._thread = threading.Thread(target=self._lose)

    def _lose(self) -> None:
        journal = UndoJournal(self._place.journal)
        wait_until(lambda: bool(journal.entries()[0]), what="the fault", within_s=90)
        wait_until(lambda: not journal.entries()[0], what="its undoing", within_s=90)
        newest = max(self._place.evidence_folder.iterdir(), key=lambda each: each.stat().st_mtime)
        log = read_log(newest / "round-01.jsonl")
        self._gone += self._place.lose(log.run, "3")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def _recount(place: SitePlace, ran: Practised) -> tuple[int, Any]:
    argv = [sys.executable, "-m", "deployments.cli", "drill", "recount", ran.id, "--json", "--estate", str(place.file)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SLIPWAY_VAR": str(place.folder / "var")}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(done.stdout)[0]
