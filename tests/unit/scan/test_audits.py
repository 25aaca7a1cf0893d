"""What dependency audits report, as pip-audit 2.10 and npm 11 write it."""

import json
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.service import ReportFormat
from tasks.scan.model import Finding
from tasks.scan.parse import InvalidReport, parse_report

TREE = PurePosixPath("/srv/tree")
PIP: ReportFormat = "pip-audit"
NPM: ReportFormat = "npm-audit"


def parse(report: object, report_format: ReportFormat) -> tuple[Finding, ...]:
    return parse_report(report_format, json.dumps(report), tool="audit", tree=TREE)


def problem(report: object, report_format: ReportFormat) -> str:
    with pytest.raises(InvalidReport) as caught:
        parse(report, report_format)
    return str(caught.value)


def pip(*dependencies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"dependencies": list(dependencies), "fixes": [], **more}


def requests(*vulns: dict[str, Any]) -> dict[str, Any]:
    return {"name": "requests", "version": "2.19.0", "vulns": list(vulns)}


VULN = {"id": "PYSEC-2018-28", "fix_versions": ["2.20.0"], "aliases": ["CVE-2018-18074"], "description": "long"}


def npm(packages: dict[str, Any], *, total: int | None = None, dependencies: int = 3) -> dict[str, Any]:
    counts = {"info": 0, "low": 0, "moderate": 0, "high": 0, "critical": 0}
    return {
        "auditReportVersion": 2,
        "vulnerabilities": packages,
        "metadata": {
            "vulnerabilities": {**counts, "total": len(packages) if total is None else total},
            "dependencies": {"prod": dependencies, "total": dependencies},
        },
    }


def advisory(**changes: Any) -> dict[str, Any]:
    url = "https://advisories.example/GHSA-aaaa-bbbb-cccc"
    given = {"source": 1179, "name": "pad", "dependency": "pad", "title": "Pads too much", "url": url}
    return {**given, "severity": "moderate", "cwe": ["CWE-1"], "cvss": {"score": 5}, "range": "<2.0.0", **changes}


def package(*via: object, severity: str = "moderate") -> dict[str, Any]:
    return {"name": "x", "severity": severity, "isDirect": True, "via": list(via), "effects": [], "range": "",
            "nodes": ["node_modules/x"], "fixAvailable": False}  # fmt: skip


def test_vulnerability_of_a_python_package_is_a_high_finding_that_says_what_mends_it() -> None:
    message = "requests 2.19.0 is vulnerable (also CVE-2018-18074); mended in 2.20.0"
    assert parse(pip(requests(VULN)), PIP) == (Finding("audit", "PYSEC-2018-28", "high", "requests", 0, message),)


def test_every_vulnerability_of_every_package_counts() -> None:
    other = {"name": "six", "version": "1", "vulns": [{"id": "GHSA-1", "fix_versions": []}]}
    found = parse(pip(requests(VULN, {**VULN, "id": "PYSEC-2"}), other), PIP)
    assert [each.rule for each in found] == ["PYSEC-2018-28", "PYSEC-2", "GHSA-1"]
    assert "no version mends it yet" in found[-1].message


def test_known_vulnerability_stays_known_when_the_package_is_renewed() -> None:
    (before,) = parse(pip(requests(VULN)), PIP)
    (after,) = parse(pip({**requests(VULN), "version": "2.19.1"}), PIP)
    assert before.fingerprint == after.fingerprint


def test_packages_without_vulnerabilities_are_no_findings() -> None:
    assert parse(pip(requests()), PIP) == ()


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (pip(requests(), {"name": "ours", "skip_reason": "Dependency not found on PyPI: ours (1.0)"}), "ours"),
        (pip(requests(VULN), {"name": "ours", "skip_reason": ""}), "could not be audited: ours"),
        (pip({"name": "ours", "version": "1.0"}), "could not be audited: ours"),
        (pip({"name": "ours", "version": "1.0", "vulns": None}), "could not be audited: ours"),
        (pip(), "dependencies"),
        ({"fixes": []}, "dependencies"),
        ({"dependencies": None}, "dependencies"),
        ([requests()], "no JSON of pip-audit"),
        (pip({"name": "ours", "version": "1.0", "vulns": [{"id": "", "fix_versions": []}]}), "id"),
        (pip({"name": "ours", "version": "1.0", "vulns": [{"id": "X"}]}), "fix_versions"),
        (pip({"version": "1.0", "vulns": []}), "name"),
        (npm({}), "dependencies"),
    ],
)
def test_pip_audit_that_did_not_see_everything_is_refused(report: object, told: str) -> None:
    assert told in problem(report, PIP)


def test_many_packages_that_were_not_audited_are_counted() -> None:
    skipped = [{"name": f"p{n}", "skip_reason": "not found"} for n in range(9)]
    assert "p0, p1, p2, p3, p4 and 4 more" in problem(pip(*skipped), PIP)


def test_advisory_of_a_node_package_is_a_finding_with_its_lasting_id() -> None:
    assert parse(npm({"pad": package(advisory())}), NPM) == (
        Finding("audit", "GHSA-aaaa-bbbb-cccc", "medium", "pad", 0, "Pads too much (pad <2.0.0)"),
    )


@pytest.mark.parametrize(
    ("word", "severity"),
    [("critical", "critical"), ("high", "high"), ("moderate", "medium"), ("low", "low"), ("info", "low")],
)
def test_severity_of_npm_is_one_of_ours(word: str, severity: str) -> None:
    (found,) = parse(npm({"pad": package(advisory(severity=word))}), NPM)
    assert found.severity == severity


def test_advisory_without_an_address_is_named_by_npms_number() -> None:
    (found,) = parse(npm({"pad": package(advisory(url=None))}), NPM)
    assert found.rule == "npm-1179"


def test_package_that_only_depends_on_a_vulnerable_one_is_not_told_again() -> None:
    packages = {"wide": package("pad"), "wider": package("wide", "pad"), "pad": package(advisory(), advisory(source=2))}
    assert [each.path for each in parse(npm(packages), NPM)] == ["pad", "pad"]


def test_clean_audit_of_npm_has_no_findings() -> None:
    assert parse(npm({}), NPM) == ()


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ({"error": {"code": "ENOLOCK", "summary": "needs a lock file", "detail": ""}}, "npm's own error"),
        ({"message": "405 Method Not Allowed", "statusCode": 405, "error": {"summary": "", "detail": ""}}, "own error"),
        ({**npm({}), "error": {"code": "ENOAUDIT"}}, "npm's own error"),
        ({"auditReportVersion": 2, "vulnerabilities": {}}, "metadata"),
        ({**npm({}), "metadata": {"vulnerabilities": {"total": 0}}}, "metadata.dependencies"),
        ({key: value for key, value in npm({}).items() if key != "vulnerabilities"}, "vulnerabilities"),
        ({**npm({}), "auditReportVersion": 1}, "auditReportVersion"),
        ({"advisories": {}, "metadata": {}}, "auditReportVersion"),
        (npm({}, dependencies=0), "no packages"),
        (npm({}, total=1), "counts other vulnerabilities"),
        (npm({"pad": package(advisory())}, total=0), "counts other vulnerabilities"),
        (npm({"pad": package()}), "via"),
        (npm({"wide": package("pad")}), "does not name"),
        (npm({"a": package("b"), "b": package("a")}), "no advisory"),
        (npm({"pad": package(advisory(severity="terrible"))}), "severity"),
        (npm({"pad": package({"name": "pad"})}), "via"),
        (pip(requests()), "auditReportVersion"),
    ],
)
def test_npm_audit_that_did_not_see_everything_is_refused(report: object, told: str) -> None:
    assert told in problem(report, NPM)


@pytest.mark.parametrize("text", ["", " \n", "{", "null", "[]", "{}", '"x"', "NaN"])
@pytest.mark.parametrize("report_format", [PIP, NPM])
def test_text_that_is_no_report_is_refused(text: str, report_format: ReportFormat) -> None:
    with pytest.raises(InvalidReport):
        parse_report(report_format, text, tool="audit", tree=TREE)


@given(st.data())
def test_report_that_is_cut_anywhere_is_refused(data: st.DataObject) -> None:
    report, report_format = data.draw(
        st.sampled_from([(pip(requests(VULN)), PIP), (npm({"pad": package(advisory())}), NPM)])
    )
    text = json.dumps(report)
    with pytest.raises(InvalidReport):
        parse_report(report_format, text[: data.draw(st.integers(0, len(text) - 1))], tool="audit", tree=TREE)
