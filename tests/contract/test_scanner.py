"""What every scanner driver does, whatever it runs."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from blocks.context import Context
from blocks.memory.scanner import MemoryScanner
from blocks.scanners.report import ReportScanner
from blocks.secrets import Secrets
from tasks.common.errors import Refused
from tasks.common.service import Scan, Severity
from tasks.scan.model import Finding
from tasks.scan.ports import Scanner

VALUE = "correct-horse-battery"
# A scanner of a few lines: it reports what lies in the tree's folder 'planted', and crashes where told to.
TOOL = """
import json, pathlib, sys
tree = pathlib.Path.cwd()
if (tree / "crash").exists():
    sys.exit("Traceback: the tool crashed")
results = [json.loads(path.read_text()) for path in sorted(tree.glob("planted/*"))]
tool = {"driver": {"name": "Lint"}}
pathlib.Path(sys.argv[1]).write_text(json.dumps({"version": "2.1.0", "runs": [{"tool": tool, "results": results}]}))
print("scanned")
sys.exit(1 if results else 0)
"""


@dataclass
class Bench:
    """A scanner, and how faults are planted for it."""

    scanner: Scanner
    spec: Scan
    plant: Callable[[Finding], None]
    crash: Callable[[], None]


def _report_bench(tree: Path, folder: Path, context: Context) -> Bench:
    (folder / "tool.py").write_text(TOOL)
    spec = Scan(tool="lint", command=[sys.executable, str(folder / "tool.py"), "{output}"])

    def plant(finding: Finding) -> None:
        place = {"artifactLocation": {"uri": finding.path}, "region": {"startLine": finding.line}}
        result = {
            "ruleId": finding.rule,
            "message": {"text": finding.message},
            "locations": [{"physicalLocation": place}],
            "properties": {"issue_severity": finding.severity},
        }
        (tree / "planted").mkdir(exist_ok=True)
        (tree / "planted" / finding.rule).write_text(json.dumps(result))

    return Bench(ReportScanner(ReportScanner.Settings(), context), spec, plant, (tree / "crash").touch)


def _memory_bench(tree: Path, folder: Path, context: Context) -> Bench:
    del tree, folder
    scanner = MemoryScanner(MemoryScanner.Settings(), context)
    spec = Scan(tool="lint", command=["lint", "{output}"])
    return Bench(scanner, spec, scanner.plant, lambda: scanner.break_tool("lint", "the tool crashed"))


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.py").write_text("x = 1\n")
    return tree


@pytest.fixture(params=[_report_bench, _memory_bench], ids=["report", "memory"])
def bench(request: pytest.FixtureRequest, tree: Path, tmp_path: Path, secrets: Secrets) -> Bench:
    made: Bench = request.param(tree, tmp_path, Context(base=tmp_path, secrets=secrets))
    return made


def no_line(text: str) -> None:
    del text


def test_a_clean_tree_has_no_findings(bench: Bench, tree: Path) -> None:
    report = bench.scanner.scan(tree, bench.spec, env={}, on_line=no_line)
    assert (report.tool, report.findings) == ("lint", ())
    assert report.duration_s >= 0


@pytest.mark.parametrize("severity", get_args(Severity))
def test_a_planted_fault_is_found_where_it_is(bench: Bench, tree: Path, severity: Severity) -> None:
    planted = Finding("lint", "R1", severity, "src/a.py", 7, "do not")
    bench.plant(planted)
    assert bench.scanner.scan(tree, bench.spec, env={}, on_line=no_line).findings == (planted,)


def test_every_planted_fault_is_found(bench: Bench, tree: Path) -> None:
    for rule in ("R1", "R2", "R3"):
        bench.plant(Finding("lint", rule, "low", "a.py", 1, "do not"))
    report = bench.scanner.scan(tree, bench.spec, env={}, on_line=no_line)
    assert [finding.rule for finding in report.findings] == ["R1", "R2", "R3"]


def test_scanning_twice_finds_the_same(bench: Bench, tree: Path) -> None:
    bench.plant(Finding("lint", "R1", "high", "a.py", 1, "do not"))
    first = bench.scanner.scan(tree, bench.spec, env={}, on_line=no_line)
    assert bench.scanner.scan(tree, bench.spec, env={}, on_line=no_line).findings == first.findings


def test_a_finding_shows_no_known_secret(bench: Bench, tree: Path, tmp_path: Path, secrets: Secrets) -> None:
    (tmp_path / "secret").write_text(VALUE)
    secrets.resolve("file:secret")
    bench.plant(Finding("lint", "R1", "high", "a.py", 1, f"calls with {VALUE}"))
    assert VALUE not in repr(bench.scanner.scan(tree, bench.spec, env={}, on_line=no_line))


def test_a_tool_that_crashes_is_refused_also_when_there_are_findings(bench: Bench, tree: Path) -> None:
    bench.plant(Finding("lint", "R1", "high", "a.py", 1, "do not"))
    bench.crash()
    with pytest.raises(Refused) as caught:
        bench.scanner.scan(tree, bench.spec, env={}, on_line=no_line)
    assert caught.value.on == "scan lint"
    assert "crashed" in str(caught.value)
    assert caught.value.next_action


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_an_empty_or_missing_tree_is_refused_as_nothing_was_scanned(bench: Bench, tmp_path: Path, exists: bool) -> None:
    nothing = tmp_path / "nothing"
    if exists:
        nothing.mkdir()
    with pytest.raises(Refused, match="nothing to scan"):
        bench.scanner.scan(nothing, bench.spec, env={}, on_line=no_line)


def test_what_the_tool_prints_is_handed_on(bench: Bench, tree: Path) -> None:
    lines: list[str] = []
    bench.scanner.scan(tree, bench.spec, env={}, on_line=lines.append)
    assert lines
