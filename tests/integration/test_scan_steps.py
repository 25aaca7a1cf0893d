"""The scans of a release as a flow runs them: side by side, all of them told, and kept for the next release."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

from blocks.context import Context
from blocks.journal import Journal
from blocks.memory.ledger import MemoryLedger
from blocks.scanners.report import ReportScanner
from tasks.common.errors import Refused
from tasks.common.service import AcceptedFinding, Scan
from tasks.release.model import Evidence, Kind, ReleaseRecord
from tasks.scan.judge import recorded_findings
from tasks.scan.model import Finding
from tasks.scan.steps import ScanTrees, scan
from tests.support.prefect_server import flows_of
from tests.support.processes import end, running, wait_until
from tests.support.scan_docs import migrations_scan

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[2]
# Reports each line of the file that it is named after as a finding; a line 'crash' makes it crash.
TOOL = """
import json, pathlib, sys
lines = pathlib.Path(sys.argv[1]).read_text().split()
if "crash" in lines:
    sys.exit("Traceback: crashed")
place = {"artifactLocation": {"uri": "app.py"}, "region": {"startLine": 7}}
results = [{"ruleId": rule, "level": "error", "message": {"text": "do not"}, "locations": [{"physicalLocation": place}]}
           for rule in lines]
tool = {"driver": {"name": "x"}}
pathlib.Path(sys.argv[2]).write_text(json.dumps({"version": "2.1.0", "runs": [{"tool": tool, "results": results}]}))
sys.exit(1 if results else 0)
"""
WAITS = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(600)
"""
# A run of its own, so that it can be interrupted: one tool that waits, in the tree that is given.
RUN = """
import sys
from pathlib import Path
from prefect import flow
from blocks.context import Context
from blocks.journal import Journal
from blocks.memory.ledger import MemoryLedger
from blocks.scanners.report import ReportScanner
from tasks.common.service import Scan
from tasks.scan.steps import ScanTrees, scan
tree = Path(sys.argv[1])
context = Context(base=tree)
journal = Journal(MemoryLedger(MemoryLedger.Settings(), context), "run", str)
spec = Scan(tool="waits", command=[sys.executable, str(tree.parent / "waits.py"), "started", "{output}"])
@flow
def only_scans():
    scanner = ReportScanner(ReportScanner.Settings(), context)
    scan(scanner, ScanTrees(tree, lambda: tree), [spec], [], None, journal, print)
only_scans()
"""


@pytest.fixture(scope="module", autouse=True)
def _prefect(prefect_api: str) -> Iterator[None]:
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}), flows_of(prefect_api):
        yield


class Place:
    """A tree, and a history beside it; tools that find what stands in the file of their name."""

    def __init__(self, folder: Path) -> None:
        self.tree, self.history = folder / "tree", folder / "history"
        for each in (self.tree, self.history):
            each.mkdir()
            (each / "app.py").touch()
        (folder / "tool.py").write_text(TOOL)
        (folder / "waits.py").write_text(WAITS)
        self.folder = folder
        self.context = Context(base=folder)
        self.ledger = MemoryLedger(MemoryLedger.Settings(), self.context)
        self.made = 0

    def tool(self, name: str, *lines: str, folder: Path | None = None, **spec: Any) -> Scan:
        """Return a scan whose tool finds a high finding for each line."""
        ((folder or self.tree) / name).write_text("\n".join(lines))
        command = [sys.executable, str(self.folder / "tool.py"), name, "{output}"]
        return Scan.model_validate({"tool": name, "command": command, **spec})

    def make_history(self) -> Path:
        """Count how often the history is asked for."""
        self.made += 1
        return self.history

    def run(
        self,
        *specs: Scan,
        accepted: tuple[AcceptedFinding, ...] = (),
        before: tuple[Finding, ...] | None = None,
        history: Callable[[], Path] | None = None,
    ) -> tuple[str, BaseException | None]:
        """Run the scans in a flow; return its id and how it failed."""
        scanner = ReportScanner(ReportScanner.Settings(), self.context)
        record_id = f"run-{len(self.ledger.records(None, None, 99))}"
        now = datetime.now(UTC)
        self.ledger.begin(ReleaseRecord(record_id, Kind.RELEASE, "x", "y", "r", "c", "s", "canary", "ann", now))
        journal = Journal(self.ledger, record_id, lambda text: text)

        @flow
        def only_scans() -> None:
            trees = ScanTrees(self.tree, history or self.make_history)
            scan(scanner, trees, specs, accepted, before, journal, lambda line: None)

        state: Any = only_scans(return_state=True)
        found = state.result(raise_on_failure=False)
        self.flow_run_id = state.state_details.flow_run_id
        return record_id, found if isinstance(found, BaseException) else None

    def evidence(self, record_id: str) -> dict[str, Evidence]:
        """Return the evidence by tool."""
        return {item.name: item for item in self.ledger.evidence(record_id)}

    def shown(self) -> str:
        """Return the artifact of the last run."""
        with get_client(sync_client=True) as client:
            found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["scans"])))
            (mine,) = [each for each in found if each.flow_run_id == self.flow_run_id]
        return str(mine.data)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def accept(rule: str, days: int) -> AcceptedFinding:
    until = (datetime.now(UTC).date() + timedelta(days=days)).isoformat()
    given = {"tool": "first", "rule": rule, "reason": "it was looked at", "until": until}
    return AcceptedFinding.model_validate(given)


def test_clean_tools_let_the_release_pass_and_each_is_a_task(place: Place) -> None:
    record_id, error = place.run(place.tool("first"), place.tool("second"))
    assert error is None
    assert {name: item.facts["blocking"] for name, item in place.evidence(record_id).items()} == {
        "first": 0,
        "second": 0,
    }
    assert "2 of 2 tools answered" in place.shown()


def test_migration_that_breaks_running_code_stops_the_release(place: Place) -> None:
    spec = migrations_scan(place.folder / "tools")
    place.context = Context(base=place.folder, path=(str(place.folder / "tools"),))
    migration = place.tree / "migrations" / "0001_less"
    migration.mkdir(parents=True)
    (migration / "migration.yaml").write_text("description: less\n")
    (migration / "prepare.sql").write_text("alter table customer drop column first;\n")
    (migration / "prepare.undo.sql").write_text("-- the column is gone\n")
    _, error = place.run(place.tool("first"), spec)
    assert isinstance(error, Refused)
    assert error.what == "1 of 2 scanners stop the release: migrations found 1 that block"
    assert "migrations/0001_less/prepare.sql:1" in place.shown().replace("\\", "")


def test_every_crashed_tool_and_every_finding_is_told_in_one_refusal(place: Place) -> None:
    missing = Scan(tool="missing", command=["no-such-scanner", "{output}"])
    specs = [place.tool("first", "R1", "R2"), place.tool("second", "crash"), missing, place.tool("third")]
    record_id, error = place.run(*specs)
    assert isinstance(error, Refused)
    assert error.what == (
        "3 of 4 scanners stop the release: second gave no answer that can be trusted; "
        "missing gave no answer that can be trusted; first found 2 that block"
    )
    assert set(error.facts) == {"first", "second", "missing"}
    assert error.facts["first"] == "high: app.py:7: R1: do not\nhigh: app.py:7: R2: do not"
    assert "Traceback: crashed" in str(error.facts["second"])
    assert "no-such-scanner" in str(error.facts["missing"])
    noted = place.evidence(record_id)
    assert noted["first"].facts["blocking"] == 2
    assert "error" in noted["second"].facts
    assert noted["third"].facts["blocking"] == 0


def test_tool_that_is_the_only_problem_is_told_in_its_own_words(place: Place) -> None:
    _, error = place.run(place.tool("first", "crash"), place.tool("second"))
    assert isinstance(error, Refused)
    assert (error.on, error.facts["exit code"]) == ("scan first", 1)
    assert "**stopped**: 1 of 2 tools answered, 0 findings block" in place.shown()


def test_table_shows_what_was_found_also_when_another_tool_crashed(place: Place) -> None:
    place.run(place.tool("first", "R1"), place.tool("second", "crash"))
    assert "**stopped**: 1 of 2 tools answered, 1 findings block" in place.shown()
    assert "| **blocks** | high | first | R1 |" in place.shown()


def test_finding_of_the_last_release_is_known_to_the_next_one(place: Place) -> None:
    first, _ = place.run(place.tool("first", "R1"))
    before = recorded_findings(place.ledger.evidence(first))
    second, error = place.run(place.tool("first", "R1", "R2"), before=before)
    facts = place.evidence(second)["first"].facts
    assert (facts["new"], facts["known"]) == (1, 1)
    assert place.shown().index("## New") < place.shown().index("## Known from the last release")
    assert error is not None, "a known finding blocks like a new one"


def test_accepted_finding_lets_the_release_pass_and_is_on_record(place: Place) -> None:
    record_id, error = place.run(place.tool("first", "R1"), accepted=(accept("R1", 0),))
    assert error is None
    facts: Any = place.evidence(record_id)["first"].facts
    assert (facts["accepted"], facts["blocking"]) == (1, 0)
    assert facts["findings"][0]["reason"] == "it was looked at"
    assert "## Accepted" in place.shown()


def test_acceptance_that_is_over_blocks_and_is_named(place: Place) -> None:
    _, error = place.run(place.tool("first", "R1"), accepted=(accept("R1", -1),))
    assert isinstance(error, Refused)
    assert "accepted until" in str(error.facts["first"])


def test_history_is_only_made_when_a_tool_wants_it_and_made_once(place: Place) -> None:
    place.run(place.tool("first"))
    assert place.made == 0
    over = [place.tool(name, "R1", folder=place.history, over="history") for name in ("first", "second")]
    _, error = place.run(*over)
    assert place.made == 1
    assert isinstance(error, Refused)
    assert set(error.facts) == {"first", "second"}


def test_history_that_cannot_be_had_fails_its_tools_beside_the_others(place: Place) -> None:
    def shallow() -> Path:
        raise Refused("it is a shallow clone", on="x", next_action="run 'git fetch --unshallow' in it")

    specs = [place.tool("first", folder=place.history, over="history"), place.tool("second", "R1")]
    record_id, error = place.run(*specs, history=shallow)
    assert isinstance(error, Refused)
    assert "shallow clone\nnext: run 'git fetch --unshallow'" in str(error.facts["first"])
    assert "R1" in str(error.facts["second"])
    assert "shallow" in str(place.evidence(record_id)["first"].facts["error"])


def test_evidence_of_many_tools_that_end_at_once_is_whole(place: Place) -> None:
    specs = [place.tool(f"tool-{n}", *(f"R{m}" for m in range(n)), fail_on=[]) for n in range(12)]
    record_id, error = place.run(*specs)
    assert error is None
    found = [(item.name, item.facts["found"]) for item in place.ledger.evidence(record_id)]
    assert sorted(found) == sorted((f"tool-{n}", n) for n in range(12))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupted", "terminated"])
def test_interrupted_run_leaves_no_tool_behind(place: Place, tmp_path: Path, number: signal.Signals) -> None:
    env = {
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PYTHONPATH": str(ROOT),
    }
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{RUN}"
    with running([sys.executable, "-c", code, str(place.tree)], log=tmp_path / "log", env=env, cwd=ROOT) as run:
        pid_file = place.tree / "started"
        wait_until(lambda: pid_file.exists() and pid_file.read_text(), within_s=120, what="the tool's start")
        os.kill(run.pid, number)
        process = Path(f"/proc/{pid_file.read_text()}")
        wait_until(lambda: not process.exists(), within_s=60, what="the tool's end")
        end(run)
    assert not process.exists()
