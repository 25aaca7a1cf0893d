"""The scanner driver with real tools, and with tools that fail in every way."""

import json
import sys
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.scanners.report import ReportScanner
from tasks.common.errors import Refused
from tasks.common.service import Scan
from tasks.scan.judge import judge
from tasks.scan.model import Finding
from tests.support.needs import missing
from tests.support.processes import wait_until

PASSWORD = "hunter2-hunter2"
KEY = "AKIA" + "IOSFODNN7EXAMPLE"
DONE = {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": []}]}
TOOLS = Path(sys.executable).parent

BANDIT = ["bandit", "-r", ".", "-f", "sarif", "-o", "{output}"]
DETECT_SECRETS = ["detect-secrets", "scan", "--all-files"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "src").mkdir(parents=True)
    (tree / "src" / "good.py").write_text("ANSWER = 42\n")
    return tree


def scanner(tmp_path: Path, **settings: str) -> ReportScanner:
    return ReportScanner(
        ReportScanner.Settings.model_validate(settings), Context(base=tmp_path, path=(str(TOOLS), "tools"))
    )


def scan(
    tree: Path, spec: Scan, on_line: Callable[[str], None] = lambda _: None, **settings: str
) -> tuple[Finding, ...]:
    return scanner(tree.parent, **settings).scan(tree, spec, env={}, on_line=on_line).findings


def bandit() -> Scan:
    if not (TOOLS / "bandit").exists():
        missing("bandit is not installed here")
    return Scan(tool="bandit", command=BANDIT)


def detect_secrets() -> Scan:
    if not (TOOLS / "detect-secrets").exists():
        missing("detect-secrets is not installed here")
    return Scan(tool="detect-secrets", command=DETECT_SECRETS, format="detect-secrets", report="stdout")


def script(code: str, **more: object) -> Scan:
    """Return a tool of a few lines of Python; `output` is its report's path."""
    head = "import json, os, pathlib, sys, time; output = pathlib.Path(sys.argv[1])\n"
    return Scan.model_validate({"tool": "tool", "command": [sys.executable, "-c", head + code, "{output}"], **more})


def refusal(tree: Path, spec: Scan, **settings: str) -> Refused:
    with pytest.raises(Refused) as caught:
        scan(tree, spec, **settings)
    assert caught.value.next_action
    return caught.value


def test_bandit_passes_a_clean_tree(tree: Path) -> None:
    assert scan(tree, bandit()) == ()


def test_bandit_finds_planted_faults_where_they_are(tree: Path) -> None:
    (tree / "src" / "bad.py").write_text(
        "import subprocess\n\ndef f(x):\n    subprocess.call(x, shell=True)\n    eval(x)\n"
    )
    found = {(f.rule, f.severity, f.path, f.line) for f in scan(tree, bandit())}
    assert {("B602", "high", "src/bad.py", 4), ("B307", "medium", "src/bad.py", 5)} <= found


def test_bandits_finding_of_a_password_does_not_show_it(tree: Path) -> None:
    (tree / "src" / "bad.py").write_text(f'PASSWORD = "{PASSWORD}"\n')
    found = scan(tree, bandit())
    assert [f.rule for f in found] == ["B105"]
    assert PASSWORD not in repr(found)


@pytest.mark.parametrize(
    ("name", "command"),
    [("broken.py", BANDIT), ("good.py", ["bandit", "-r", "sorce", "-f", "sarif", "-o", "{output}"])],
    ids=["a-file-it-cannot-parse", "a-folder-that-is-misspelt"],
)
def test_bandit_that_did_not_see_everything_is_refused_although_it_ends_with_zero(
    tree: Path, name: str, command: list[str]
) -> None:
    bandit()
    (tree / name).write_text("def broken(:\n")
    error = refusal(tree, Scan(tool="bandit", command=command))
    assert error.facts["exit code"] == 0
    assert "errors" in error.what


def test_detect_secrets_passes_a_clean_tree(tree: Path) -> None:
    assert scan(tree, detect_secrets()) == ()


def test_detect_secrets_finds_planted_secrets_and_shows_none(tree: Path) -> None:
    (tree / "src" / "app.env").write_text(f'KEY={KEY}\npassword = "{PASSWORD}"\n')
    lines: list[str] = []
    found = scan(tree, detect_secrets(), lines.append)
    assert {(f.rule, f.path, f.line) for f in found} >= {
        ("AWS Access Key", "src/app.env", 1),
        ("Secret Keyword", "src/app.env", 2),
    }
    assert PASSWORD not in repr(found) + "".join(lines)
    assert KEY not in repr(found) + "".join(lines)


def test_a_planted_secret_blocks_by_default(tree: Path) -> None:
    (tree / "app.env").write_text(f"KEY={KEY}\n")
    spec = detect_secrets()
    report = scanner(tree.parent).scan(tree, spec, env={}, on_line=lambda _: None)
    assert judge([(spec, report)], (), None, date(2026, 3, 10)).blocking


def test_a_tool_that_is_not_installed_is_refused(tree: Path) -> None:
    error = refusal(tree, Scan(tool="trivy", command=["no-such-scanner", "{output}"]))
    assert "no-such-scanner" in error.what
    assert "install" in error.next_action


def test_a_tool_is_found_in_the_estates_tools_folder(tree: Path) -> None:
    tools = tree.parent / "tools"
    tools.mkdir()
    (tools / "own-scanner").write_text(f"#!/bin/sh\nprintf '%s' '{json.dumps(DONE)}' > \"$1\"\n")
    (tools / "own-scanner").chmod(0o755)
    assert scan(tree, Scan(tool="own", command=["own-scanner", "{output}"])) == ()


def test_the_environment_is_handed_to_the_tool(tree: Path) -> None:
    spec = script(f"assert os.environ['LEVEL'] == '3'; output.write_text({json.dumps(DONE)!r})")
    assert scanner(tree.parent).scan(tree, spec, env={"LEVEL": "3"}, on_line=lambda _: None).findings == ()


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("sys.exit(2)", "did not run to its end"),
        ("os.kill(os.getpid(), 9)", "did not run to its end"),
        ("raise RuntimeError('half way')", "wrote no report"),
        ("pass", "wrote no report"),
        ("output.mkdir()", "wrote no report"),
        ("os.mkfifo(output)", "wrote no report"),
        ("output.symlink_to('/etc/hostname')", "wrote no report"),
        ("output.touch()", "the report is empty"),
        (f"output.write_text({json.dumps(DONE)[:-9]!r})", "no complete JSON"),
        (f"output.write_text({json.dumps(DONE)[:-9]!r}); sys.exit(1)", "no complete JSON"),
        (f"output.write_text({json.dumps(DONE)[:-9]!r}); os.kill(os.getpid(), 9)", "did not run to its end"),
        ("output.write_bytes(b'\\xff\\xfe')", "no UTF-8"),
        ('output.write_text(\'{"version": "2.1.0", "runs": []}\')', "runs"),
        (f"output.write_text({json.dumps(DONE)!r}); sys.exit(1)", "names no finding"),
        (f"output.write_text(' ' * 3000 + {json.dumps(DONE)!r})", "longer than 2048 bytes"),
    ],
)
def test_a_tool_without_a_whole_report_is_refused(tree: Path, code: str, problem: str) -> None:
    error = refusal(tree, script(f"print('last words', flush=True)\n{code}"), report_at_most="2KiB")
    assert problem in error.what
    assert error.on == "scan tool"
    assert "exit code" in error.facts
    assert "last words" in str(error.facts["last lines"])


def test_a_report_of_an_earlier_scan_is_never_read_again(tree: Path) -> None:
    spec = script(
        f"if not (pathlib.Path('ran').exists()): output.write_text({json.dumps(DONE)!r})\npathlib.Path('ran').touch()"
    )
    assert scan(tree, spec) == ()
    assert "wrote no report" in refusal(tree, spec).what


def test_an_exit_code_that_is_named_is_accepted(tree: Path) -> None:
    result = {"ruleId": "R1", "message": {"text": "m"}}
    found = {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": [result]}]}
    code = f"output.write_text({json.dumps(found)!r}); sys.exit(3)"
    assert "exit code 0 or 1" in str(refusal(tree, script(code)))
    assert len(scan(tree, script(code, findings_exit=[0, 3]))) == 1


def test_a_tool_that_hangs_is_ended_and_refused(tree: Path) -> None:
    code = "pathlib.Path('pid').write_text(str(os.getpid())); print('waiting', flush=True); time.sleep(600)"
    error = refusal(tree, script(code, timeout="3s"))
    assert "within 3 s" in error.what
    assert error.facts["last lines"] == "waiting"
    assert wait_until(lambda: not Path(f"/proc/{(tree / 'pid').read_text()}").exists(), what="the tool's end")


def test_a_tool_is_ended_and_refused_as_soon_as_it_is_told_to_stop(tree: Path) -> None:
    spec = script("pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(600)")
    stop, caught = threading.Event(), []

    def run() -> None:
        try:
            scanner(tree.parent).scan(tree, spec, env={}, on_line=lambda _: None, stop=stop)
        except Refused as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(lambda: (tree / "pid").exists() and (tree / "pid").read_text(), what="the tool's start")
    finally:
        stop.set()
        thread.join()
    (error,) = caught
    assert "stopped" in error.what
    assert not Path(f"/proc/{(tree / 'pid').read_text()}").exists()


@pytest.mark.parametrize("end", ["sys.exit(2)", "time.sleep(600)", "sys.exit(0)"], ids=["crash", "hang", "half"])
def test_a_report_on_stdout_that_is_not_whole_is_refused_without_quoting_it(tree: Path, end: str) -> None:
    code = f"print('{{\"runs\": [\"{PASSWORD}', flush=True); print('why', file=sys.stderr, flush=True); {end}"
    error = refusal(tree, script(code, report="stdout", timeout="3s"))
    assert error.facts["last lines"] == "why"
    assert PASSWORD not in str(error)
    assert error.__suppress_context__ or error.__context__ is None


def test_a_command_that_does_not_name_the_output_is_refused_before_it_runs(tree: Path) -> None:
    touch = [sys.executable, "-c", "open('ran', 'w')"]
    error = refusal(tree, Scan(tool="tool", command=touch))
    assert "{output}" in error.next_action
    assert not (tree / "ran").exists()


def test_a_tree_behind_a_link_gives_relative_paths(tree: Path) -> None:
    link = tree.parent / "link"
    link.symlink_to(tree)
    result = {"message": {"text": "m"}, "locations": [{"physicalLocation": {"artifactLocation": {"uri": "CWD/a.py"}}}]}
    report = json.dumps({"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": [result]}]})
    code = f"output.write_text({report!r}.replace('CWD', 'file://' + os.getcwd()))"
    assert [finding.path for finding in scan(link, script(code))] == ["a.py"]


def test_no_report_is_left_behind(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    scan(tree, script(f"assert 'temporary' in str(output); output.write_text({json.dumps(DONE)!r})"))
    refusal(tree, script("output.write_text('{')"))
    assert not any(folder.iterdir())
