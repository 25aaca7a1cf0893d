"""The scanners that the documentation names, run for real: on what is clean, on planted faults, and cut off.

No vulnerability service is asked: where one is needed, a fake of a few lines answers on this machine, and the test's
name says so.
"""

import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from blocks.context import Context
from blocks.scanners.report import ReportScanner
from blocks.sources.git import GitSource
from tasks.common.errors import Refused
from tasks.common.service import Scan
from tasks.scan.judge import judge
from tasks.scan.model import Finding, ScanReport
from tests.support.needs import missing
from tests.support.processes import free_port
from tests.support.repositories import Repo
from tests.support.scan_docs import documented_scans
from tests.support.vulnerability_service import Service, fake_service

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools" / "bin"
KEY = "AKIA" + "Z7QF3M2XWLVN4KPD"
CLEAN_DOCKERFILE = 'FROM debian:12.5-slim\nCOPY app /app\nHEALTHCHECK CMD ["/app", "--check"]\nUSER 1000\n'
BAD_DOCKERFILE = "FROM debian\nRUN cd /tmp && sudo make\n"
LOCK: dict[str, Any] = {
    "name": "app",
    "version": "1.0.0",
    "lockfileVersion": 3,
    "requires": True,
    "packages": {
        "": {"name": "app", "version": "1.0.0", "dependencies": {"pad": "1.0.0"}},
        "node_modules/pad": {"version": "1.0.0"},
    },
}


@pytest.fixture
def service() -> Iterator[Service]:
    with fake_service() as found:
        yield found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    return tree


def documented(tool: str, *changes: tuple[str, str]) -> Scan:
    """Return the scan as the page has it; skip the test if its program is not here."""
    (spec,) = [each for each in documented_scans(*changes) if each.tool == tool]
    program = spec.command[0]
    if not (TOOLS / program).exists() and shutil.which(program) is None:
        missing(f"{program} is not installed here ('make scanners' does it)")
    return spec


def scan(folder: Path, spec: Scan, **env: str) -> tuple[Finding, ...]:
    scanner = ReportScanner(ReportScanner.Settings(), Context(base=folder.parent, path=(str(TOOLS),)))
    # No tool may leave anything in the home of whoever runs the tests, or be told anything by what lies there.
    own = {"HOME": str(folder.parent / "home"), **env}
    return scanner.scan(folder, spec, env=own, on_line=lambda line: None).findings


def refusal(folder: Path, spec: Scan, **env: str) -> Refused:
    with pytest.raises(Refused) as caught:
        scan(folder, spec, **env)
    assert caught.value.next_action
    return caught.value


def rules(found: tuple[Finding, ...]) -> set[str]:
    return {each.rule for each in found}


def blocks(spec: Scan, found: tuple[Finding, ...]) -> bool:
    return bool(judge([(spec, ScanReport(spec.tool, found, 0.0))], (), None, date(2026, 3, 10)).blocking)


# gitleaks: a secret that was committed and deleted later is only in the history


def leaky(tmp_path: Path, *contents: dict[str, str]) -> tuple[Path, Path]:
    """Return the tree and the history of a repository that had these files one after the other."""
    repo = Repo(tmp_path / "repository")
    before: dict[str, str] = {}
    for content in contents:
        repo.commit("Change", content, remove=tuple(set(before) - set(content)))
        before = content
    source = GitSource(GitSource.Settings(repository="repository"), Context(base=tmp_path))
    commit = source.resolve("main")
    source.check_out(commit, tmp_path / "tree")
    source.history(commit, tmp_path / "history")
    return tmp_path / "tree", tmp_path / "history"


def test_gitleaks_finds_a_secret_that_was_deleted_later_and_does_not_show_it(tmp_path: Path) -> None:
    spec = documented("gitleaks")
    tree, history = leaky(tmp_path, {"a.py": "x = 1\n", "deploy.env": f"KEY={KEY}\n"}, {"a.py": "x = 1\n"})
    assert not (tree / "deploy.env").exists()
    found = scan(history, spec)
    assert [(each.path, each.severity) for each in found] == [("deploy.env", "high")]
    assert KEY not in repr(found)
    assert blocks(spec, found)


def test_gitleaks_passes_a_clean_history(tmp_path: Path) -> None:
    _, history = leaky(tmp_path, {"a.py": "x = 1\n"}, {"a.py": "x = 2\n"})
    assert scan(history, documented("gitleaks")) == ()


def test_gitleaks_does_not_see_what_was_committed_after_the_released_commit(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repository")
    clean = repo.commit("Start", {"a.py": "x = 1\n"})
    repo.commit("Leak", {"deploy.env": f"KEY={KEY}\n"})
    source = GitSource(GitSource.Settings(repository="repository"), Context(base=tmp_path))
    source.history(source.resolve(clean), tmp_path / "history")
    assert scan(tmp_path / "history", documented("gitleaks")) == ()


def test_gitleaks_that_cannot_read_its_rules_is_refused(tmp_path: Path) -> None:
    _, history = leaky(tmp_path, {"a.py": "x = 1\n", ".gitleaks.toml": "this is no TOML ["})
    refusal(history, documented("gitleaks"))


def test_gitleaks_over_the_tree_is_refused_also_below_another_repository(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.commit("Start", {"tree/a.py": "x = 1\n"})
    spec = documented("gitleaks", ("over: history", "over: tree"))
    refusal(tmp_path / "tree", spec)


# semgrep


RULE = {"id": "no-eval", "languages": ["python"], "severity": "ERROR", "pattern": "eval(...)"}
RULES = {"rules": [{**RULE, "message": "eval runs what it is given"}]}


def semgrep(tree: Path, source: str, rules: object = RULES) -> Scan:
    (tree / "security").mkdir()
    (tree / "security" / "semgrep.yaml").write_text(json.dumps(rules))
    (tree / "app.py").write_text(source)
    return documented("semgrep")


@pytest.mark.slow
def test_semgrep_finds_what_the_rules_of_the_repository_forbid(tree: Path) -> None:
    spec = semgrep(tree, "def f(x):\n    return eval(x)\n")
    (found,) = scan(tree, spec)
    assert (found.rule.rpartition(".")[2], found.severity, found.path, found.line) == ("no-eval", "high", "app.py", 2)
    assert blocks(spec, (found,))


@pytest.mark.slow
def test_semgrep_passes_a_clean_tree(tree: Path) -> None:
    assert scan(tree, semgrep(tree, "def f(x):\n    return x\n")) == ()


@pytest.mark.slow
@pytest.mark.parametrize("rules", [{"rules": [{"id": "half"}]}, "no rules"], ids=["half", "none"])
def test_semgrep_with_broken_rules_is_refused(tree: Path, rules: object) -> None:
    refusal(tree, semgrep(tree, "def f(x):\n    return eval(x)\n", rules))


@pytest.mark.slow
def test_semgrep_without_its_rules_is_refused(tree: Path) -> None:
    spec = semgrep(tree, "x = 1\n")
    (tree / "security" / "semgrep.yaml").unlink()
    refusal(tree, spec)


# hadolint and checkov


def test_hadolint_passes_a_clean_dockerfile(tree: Path) -> None:
    (tree / "Dockerfile").write_text(CLEAN_DOCKERFILE)
    assert scan(tree, documented("hadolint")) == ()


def test_hadolint_finds_planted_faults_where_they_are(tree: Path) -> None:
    (tree / "Dockerfile").write_text(BAD_DOCKERFILE)
    found = {(each.rule, each.path, each.line) for each in scan(tree, documented("hadolint"))}
    assert {("DL3006", "Dockerfile", 1), ("DL3004", "Dockerfile", 2)} <= found


def test_hadolint_blocks_what_it_calls_an_error(tree: Path) -> None:
    spec = documented("hadolint")
    (tree / "Dockerfile").write_text(BAD_DOCKERFILE)
    assert blocks(spec, scan(tree, spec))


def test_hadolint_without_a_dockerfile_is_refused(tree: Path) -> None:
    (tree / "app.py").touch()
    refusal(tree, documented("hadolint"))


def test_dockerfile_that_hadolint_cannot_parse_blocks(tree: Path) -> None:
    spec = documented("hadolint")
    (tree / "Dockerfile").write_text("FRM debian:12.5\n")
    assert blocks(spec, scan(tree, spec))


@pytest.mark.slow
def test_checkov_finds_the_missing_user_and_passes_a_clean_dockerfile(tree: Path) -> None:
    spec = documented("checkov")
    (tree / "Dockerfile").write_text(BAD_DOCKERFILE)
    found = scan(tree, spec)
    assert "CKV_DOCKER_3" in rules(found)
    assert blocks(spec, found)
    (tree / "Dockerfile").write_text(CLEAN_DOCKERFILE)
    assert scan(tree, spec) == ()


@pytest.mark.slow
def test_checkov_that_does_not_know_an_option_is_refused(tree: Path) -> None:
    (tree / "Dockerfile").write_text(CLEAN_DOCKERFILE)
    refusal(tree, documented("checkov", ("--quiet", "--quite-quiet")))


# pip-audit


VULNERABLE = {
    "vulns": [
        {
            "id": "PYSEC-2018-28",
            "aliases": ["CVE-2018-18074"],
            "summary": "Leaks what it should not",
            "affected": [
                {
                    "package": {"name": "requests", "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.20.0"}]}],
                }
            ],
        }
    ]
}


def pip_audit(tree: Path, url: str) -> Scan:
    (tree / "requirements.txt").write_text("requests==2.19.0\n")
    return documented("pip-audit", ("--strict", f"--strict, -s, osv, --osv-url, {url}"))


def test_pip_audit_finds_what_a_fake_service_knows(tree: Path, service: Service) -> None:
    service.knows(VULNERABLE)
    spec = pip_audit(tree, service.url)
    (found,) = scan(tree, spec)
    assert (found.rule, found.severity, found.path) == ("PYSEC-2018-28", "high", "requests")
    assert "mended in 2.20.0" in found.message
    assert blocks(spec, (found,))


def test_pip_audit_passes_what_a_fake_service_knows_nothing_against(tree: Path, service: Service) -> None:
    assert scan(tree, pip_audit(tree, service.url)) == ()
    assert service.asked, "it passed without asking"


@pytest.mark.parametrize("status", [403, 500, 503])
def test_pip_audit_is_refused_where_a_fake_service_is_not_well(tree: Path, service: Service, status: int) -> None:
    service.knows({}, status)
    refusal(tree, pip_audit(tree, service.url))


def test_pip_audit_is_refused_where_no_service_answers(tree: Path) -> None:
    refusal(tree, pip_audit(tree, f"http://127.0.0.1:{free_port()}"))


def unreachable(tree: Path) -> dict[str, str]:
    """Return the environment that keeps every request on this machine, where nobody listens."""
    proxy = f"http://127.0.0.1:{free_port()}"
    return {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "NO_PROXY": "", "no_proxy": ""}


def test_pip_audit_as_documented_is_refused_where_pypi_cannot_be_reached(tree: Path) -> None:
    (tree / "requirements.txt").write_text("requests==2.19.0\n")
    refusal(tree, documented("pip-audit"), **unreachable(tree))


def test_pip_audit_of_no_packages_is_refused(tree: Path, service: Service) -> None:
    spec = pip_audit(tree, service.url)
    (tree / "requirements.txt").write_text("# nothing\n")
    assert "dependencies" in refusal(tree, spec).what


def test_pip_audit_that_is_not_strict_is_refused_although_it_ends_with_zero_and_skipped_a_package(
    tree: Path, service: Service
) -> None:
    documented("pip-audit")
    for folder, name, version in (("ours-not_a_version", "ours", "not-a-version!"), ("six-1.16.0", "six", "1.16.0")):
        metadata = tree / "site" / f"{folder}.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    options = ["--path", "site", "-s", "osv", "--osv-url", service.url, "-f", "json", "-o", "{output}"]
    error = refusal(tree, Scan(tool="pip-audit", command=["pip-audit", *options], format="pip-audit"))
    assert "could not be audited: ours" in error.what
    assert error.facts["exit code"] == 0


# npm audit, against a registry of a few lines


def npm_audit(tree: Path, url: str, lock: object = LOCK) -> Scan:
    if lock is not None:
        (tree / "package-lock.json").write_text(json.dumps(lock))
    (tree / "package.json").write_text(json.dumps(LOCK["packages"][""]))
    return documented(
        "npm-audit", ("--package-lock-only", f"--package-lock-only, --registry, {url}, --fetch-retries=0")
    )


def advisory(severity: str) -> dict[str, Any]:
    url = "https://advisories.example/GHSA-aaaa-bbbb-cccc"
    known = {"id": 1179, "url": url, "title": "Pads too much", "severity": severity, "vulnerable_versions": "<2.0.0"}
    return {"pad": [{**known, "cwe": ["CWE-1"], "cvss": {"score": 5, "vectorString": ""}}]}


@pytest.mark.parametrize(("severity", "stops"), [("critical", True), ("moderate", True), ("low", False)])
def test_npm_audit_finds_what_a_fake_registry_knows(tree: Path, service: Service, severity: str, stops: bool) -> None:
    service.knows(advisory(severity))
    spec = npm_audit(tree, service.url)
    (found,) = scan(tree, spec)
    assert (found.rule, found.path, found.message) == (
        "GHSA-aaaa-bbbb-cccc",
        "pad",
        "Pads too much (pad <2.0.0)",
    )
    assert blocks(spec, (found,)) == stops


def test_npm_audit_passes_what_a_fake_registry_knows_nothing_against(tree: Path, service: Service) -> None:
    assert scan(tree, npm_audit(tree, service.url)) == ()
    assert service.asked == ["/-/npm/v1/security/advisories/bulk"]


@pytest.mark.parametrize("status", [405, 503])
def test_npm_audit_is_refused_where_a_fake_registry_does_not_answer_audits(
    tree: Path, service: Service, status: int
) -> None:
    service.knows({}, status)
    assert "own error" in refusal(tree, npm_audit(tree, service.url)).what


def test_npm_audit_is_refused_where_no_registry_answers(tree: Path) -> None:
    refusal(tree, npm_audit(tree, f"http://127.0.0.1:{free_port()}"))


def test_npm_audit_without_a_lock_file_is_refused(tree: Path, service: Service) -> None:
    refusal(tree, npm_audit(tree, service.url, lock=None))


def test_npm_audit_of_no_packages_is_refused(tree: Path, service: Service) -> None:
    lock = {**LOCK, "packages": {"": {"name": "app", "version": "1.0.0"}}}
    assert "no packages" in refusal(tree, npm_audit(tree, service.url, lock)).what


@pytest.mark.parametrize("line", ["audit=false", "offline=true"])
def test_npmrc_of_the_repository_cannot_switch_the_audit_off(tree: Path, service: Service, line: str) -> None:
    service.knows(advisory("critical"))
    (tree / ".npmrc").write_text(f"{line}\n")
    assert rules(scan(tree, npm_audit(tree, service.url))) == {"GHSA-aaaa-bbbb-cccc"}
