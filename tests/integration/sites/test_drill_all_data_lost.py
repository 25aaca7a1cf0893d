"""The drill in which all data of site A's cluster are lost, and a person rebuilds it from the backup repository.

Times are logged (--log-cli-level=INFO), and not asserted: a busy machine is no fault.
"""

import logging
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from blocks.drills.undo_journal import UndoJournal
from deployments.lab.sites import backup, estate, texts
from deployments.lab.sites.topology import MEMBERS
from tasks.common.drill_notes import ROUND
from tasks.drill.measure import Kind, Result
from tests.support.desk import CLI, Desk
from tests.support.drilling import read_log
from tests.support.processes import short_folder, wait_until
from tests.support.site_moves import site_place
from tests.support.sites import Sites, Writing, running_sites

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(2400)]
DRILL, OTHERS = "all-data-lost", [name for name in MEMBERS["a"] if name != backup.SOURCE]


@pytest.fixture(scope="module")
def sites_with_backup() -> Iterator[Sites]:
    with short_folder() as folder, running_sites(folder, own_backup=True) as sites:
        yield sites


@pytest.fixture
def desk(sites_with_backup: Sites, database_url: str, api: str, tmp_path: Path) -> Iterator[Desk]:
    with site_place(sites_with_backup, database_url, api) as place, ExitStack() as stack:
        found = Desk(sites_with_backup, place, stack, tmp_path)
        found.slipway("apply")
        found.start_worker()
        yield found


def test_cluster_whose_data_are_all_lost_is_rebuilt_from_the_repository_and_the_drill_counts_what_is_missing(
    desk: Desk,
) -> None:
    refused = desk.start("refused", [*CLI, "drill", "start", DRILL])
    refused.wait(300)
    assert f"no backup of {estate.BOTH} was ever verified" in desk.log_of("refused").read_text()
    desk.slipway("backup", estate.BOTH)
    desk.slipway("verify-backup", estate.BOTH)
    with desk.sites.writing(desk.folder) as writing:
        command = desk.start("drill", [*CLI, "drill", "start", DRILL])
        _wait_until_lost(desk, command)
        there_at_b = desk.sites.rows("b")
        began_s = time.monotonic()
        _rebuild(desk)
        _log.info("rebuilt %.1f s after the person had begun", time.monotonic() - began_s)
        command.wait(900)
        writing.wait_for_success(began_s)
    facts, folder = _round(desk)
    _log.info("drill: %s", {**facts, "lost": len(facts["lost"] or ()), "unsent_there": facts["unsent_there"]})
    _log.info("drill: %s", desk.log_of("drill").read_text()[-3000:])
    assert facts["outcome"] == "a-person-must-act" and facts["together"] == []
    # A busy machine is no fault: neither is its RPO, nor a client that it has held up.
    assert not [each for each in facts["problems"] if "objective" not in each and "held up" not in each]
    _require_counted(folder, facts)
    _require_told_by_another_client(desk, writing, there_at_b)
    assert UndoJournal(desk.place.folder / "drills" / "journal").entries() == ((), ())
    desk.sites.wait_whole()
    for name in MEMBERS["b"]:
        said = desk.sites.lab.logs(name).read_text().splitlines()
        _log.info("%s: %s", name, [line for line in said if "rewind" in line or "new timeline" in line][:8])
    assert not there_at_b - desk.sites.rows("a") & desk.sites.rows("b"), "site B has what A has: nothing more"
    desk.slipway("backup", estate.BOTH)
    desk.slipway("verify-backup", estate.BOTH)


def _wait_until_lost(desk: Desk, command: "subprocess.Popen[bytes]") -> None:
    """The drill has shown that nobody takes over, and waits for a person."""
    folder = desk.place.folder / "drills" / "journal" / "undone"

    def told() -> bool:
        assert command.poll() is None, desk.log_of("drill").read_text()
        return len(list(folder.glob("*.json"))) == 3 * len(MEMBERS["a"])

    wait_until(told, within_s=300, what="the loss of all data")
    assert not [name for name in MEMBERS["a"] if any(desk.sites.lab.data(name).iterdir())]


def _rebuild(desk: Desk) -> None:
    """What docs/how-to/practise-failover.md tells a person to do."""
    lab = desk.sites.lab
    control = estate.cluster(lab, "a")["patronictl"]
    scope = texts.scope("a")

    def removed() -> bool:
        answers = f"{scope}\nYes I am aware\n"
        done = subprocess.run([*control, "remove", scope], input=answers, capture_output=True, text=True, timeout=60)
        _log.info("patronictl remove: %s %s", done.returncode, done.stdout[-300:])
        return done.returncode == 0

    wait_until(removed, within_s=120, what="a cluster without a leader, whose state is removed", every_s=2)
    _log.info("restore: %s", desk.slipway("restore", estate.BOTH, "--to", backup.SOURCE)[-2000:])
    for name in OTHERS:
        subprocess.run([lab.patroni_file(name).parent / "start"], check=True, timeout=60)


def _round(desk: Desk) -> tuple[Mapping[str, Any], Path]:
    drills = desk.place.open().ledger.drills
    ended = {each.run_id: each for each in drills.ended(DRILL, 5)}
    (one,) = [note for run_id in ended for note in drills.notes(run_id) if note.kind == ROUND]
    return one.facts, Path(str(ended[one.run_id].facts["evidence"]))


def _require_counted(folder: Path, facts: Mapping[str, Any]) -> None:
    """What is lost was acknowledged, and was acknowledged last: the newest backup and all WAL came back."""
    writes = [each for each in read_log(folder / "round-01.jsonl").of(Kind.WRITE) if each.result is Result.OK]
    lost = set(facts["lost"])
    assert lost <= {each.id for each in writes}
    before = [
        each for each in sorted(writes, key=lambda each: each.ended_s) if each.ended_s < facts["moments"]["undone"]
    ]
    if lost:
        kept = max(each.ended_s for each in before if each.id not in lost)
        assert kept < max(each.ended_s for each in before if each.id in lost)
    _log.info("RTO %s s, RPO %s s, %d of %d lost", facts["rto_s"], facts["rpo_s"], len(lost), len(writes))


def _require_told_by_another_client(desk: Desk, writing: Writing, there_at_b: set[int]) -> None:
    """Another client has lost only its last writes before the fault, too, and site B had them."""
    acknowledged = {each.id: each for each in writing.acknowledged()}
    missing = sorted(set(acknowledged) - desk.sites.rows("a"))
    _log.info(
        "another client: %d of %d lost, written within %.1f s; site B had %d of them",
        len(missing),
        len(acknowledged),
        acknowledged[missing[-1]].ended - acknowledged[missing[0]].ended if missing else 0,
        len(set(missing) & there_at_b),
    )
    assert not missing or set(missing) & there_at_b, "site B has what was never archived"
