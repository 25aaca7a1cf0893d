import json
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.scan.model import Finding
from tasks.scan.parse import InvalidReport, parse_report

TREE = PurePosixPath("/srv/tree")
PASSWORD = "hunter2-hunter2"


def sarif(*results: dict[str, Any], rules: tuple[dict[str, Any], ...] = (), **run: Any) -> dict[str, Any]:
    tool = {"driver": {"name": "Linter", "rules": list(rules)}}
    return {"version": "2.1.0", "runs": [{"tool": tool, "results": list(results), **run}]}


def result(**more: Any) -> dict[str, Any]:
    return {"ruleId": "R1", "message": {"text": "Use of eval."}, **more}


def at(uri: str, line: int = 3, snippet: str = "", **place: str) -> list[dict[str, Any]]:
    region = {"startLine": line, "snippet": {"text": snippet}}
    return [{"physicalLocation": {"artifactLocation": {"uri": uri, **place}, "region": region}}]


def findings(report: object, report_format: str = "sarif") -> tuple[Finding, ...]:
    return parse_report(report_format, json.dumps(report), tool="lint", tree=TREE)


def only(report: object, report_format: str = "sarif") -> Finding:
    (finding,) = findings(report, report_format)
    return finding


def problem(text: str, report_format: str = "sarif") -> str:
    with pytest.raises(InvalidReport) as caught:
        parse_report(report_format, text, tool="lint", tree=TREE)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def test_a_result_becomes_a_finding() -> None:
    found = only(sarif(result(level="error", locations=at("src/a.py"))))
    assert found == Finding("lint", "R1", "high", "src/a.py", 3, "Use of eval.")


def test_no_results_are_no_findings() -> None:
    assert findings(sarif()) == ()


def test_the_results_of_every_run_count() -> None:
    report = sarif(result(ruleId="A"))
    report["runs"] += sarif(result(ruleId="B"))["runs"]
    assert [finding.rule for finding in findings(report)] == ["A", "B"]


@pytest.mark.parametrize(
    ("score", "severity"),
    [("10.0", "critical"), (9, "critical"), ("8.9", "high"), (7.0, "high"), ("6.9", "medium"), (4, "medium"),
     ("3.9", "low"), (0, "low")],
)  # fmt: skip
def test_a_security_severity_decides_whatever_the_level_says(score: object, severity: str) -> None:
    rule = {"id": "R1", "properties": {"security-severity": score}, "defaultConfiguration": {"level": "none"}}
    assert only(sarif(result(level="none"), rules=(rule,))).severity == severity
    assert only(sarif(result(level="none", properties={"security-severity": score}))).severity == severity


@pytest.mark.parametrize("score", ["high", "NaN", "inf", -1, 10.1])
def test_a_security_severity_that_is_no_score_is_refused(score: object) -> None:
    assert "security-severity" in problem(json.dumps(sarif(result(properties={"security-severity": score}))))


@pytest.mark.parametrize(("level", "severity"), [("error", "high"), ("warning", "medium"), ("note", "low")])
def test_a_level_decides_where_there_is_no_score(level: str, severity: str) -> None:
    assert only(sarif(result(level=level))).severity == severity
    assert only(sarif(result(), rules=({"id": "R1", "defaultConfiguration": {"level": level}},))).severity == severity


def test_a_result_without_any_level_is_a_warning() -> None:
    assert only(sarif(result())).severity == "medium"


def test_a_secret_without_any_level_is_high() -> None:
    rule = {"id": "aws-access-token", "shortDescription": {"text": "AWS"}}
    leaks = {"driver": {"name": "gitleaks", "rules": [rule]}}
    assert only(sarif(result(ruleId="aws-access-token"), tool=leaks)).severity == "high"
    assert only(sarif(result(ruleId="aws-access-token", level="note"), tool=leaks)).severity == "low"


def test_a_level_of_the_result_goes_before_its_rules() -> None:
    rule = {"id": "R1", "defaultConfiguration": {"level": "note"}}
    assert only(sarif(result(level="error"), rules=(rule,))).severity == "high"


@pytest.mark.parametrize(("word", "severity"), [("HIGH", "high"), ("MEDIUM", "medium"), ("UNDEFINED", "low")])
def test_bandits_own_severity_goes_before_the_level(word: str, severity: str) -> None:
    assert only(sarif(result(level="note", properties={"issue_severity": word}))).severity == severity


def test_a_rule_is_found_by_its_index_by_reference_and_by_a_part_of_its_id() -> None:
    rules = ({"id": "X"}, {"id": "R1", "properties": {"security-severity": "9.9"}})
    for way in ({"ruleIndex": 1}, {"rule": {"index": 1}}, {"rule": {"id": "R1"}}, {"ruleId": "R1/part"}):
        assert only(sarif({"message": {"text": "x"}, **way}, rules=rules)).severity == "critical"
    extension = {"driver": {"name": "L"}, "extensions": [{"name": "pack", "rules": list(rules)}]}
    assert only(sarif(result(), tool=extension)).severity == "critical"


def test_a_rule_index_that_leads_nowhere_still_counts_as_a_finding() -> None:
    assert only(sarif({"message": {"text": "x"}, "ruleIndex": 7})).rule == "unknown"


@pytest.mark.parametrize("kind", ["pass", "notApplicable", "informational"])
def test_results_that_are_no_problems_are_no_findings(kind: str) -> None:
    assert findings(sarif(result(kind=kind))) == ()


def test_a_result_that_is_gone_since_the_baseline_is_no_finding() -> None:
    assert findings(sarif(result(baselineState="absent"))) == ()


def test_a_suppressed_result_counts() -> None:
    assert only(sarif(result(level="error", suppressions=[{"kind": "inSource"}]))).severity == "high"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("./src//a.py", "src/a.py"),
        ("file:///srv/tree/src/a.py", "src/a.py"),
        ("file://host/srv/tree/src/a.py", "src/a.py"),
        ("/srv/tree/src/a.py", "src/a.py"),
        ("src/with%20space.py", "src/with space.py"),
        ("../outside.py", "../outside.py"),
        ("/srv/tree-2/a.py", "/srv/tree-2/a.py"),
        ("", ""),
    ],
)
def test_paths_are_relative_to_the_tree(uri: str, path: str) -> None:
    assert only(sarif(result(locations=at(uri)))).path == path


def test_a_path_starts_from_its_base() -> None:
    bases = {"SRC": {"uri": "file:///srv/tree/src/"}}
    report = sarif(result(locations=at("a.py", uriBaseId="SRC")), originalUriBaseIds=bases)
    assert only(report).path == "src/a.py"
    assert only(sarif(result(locations=at("a.py", uriBaseId="ROOT")))).path == "a.py"


def test_a_finding_without_a_place_is_still_a_finding() -> None:
    assert (only(sarif(result())).path, only(sarif(result())).line) == ("", 0)


def test_a_message_may_be_kept_with_its_rule() -> None:
    rule = {"id": "R1", "messageStrings": {"default": {"text": "Do not."}}}
    assert only(sarif(result(message={"id": "default"}), rules=(rule,))).message == "Do not."


def test_long_texts_are_cut() -> None:
    found = only(sarif(result(ruleId="R" * 10_000, message={"text": "m" * 10_000})))
    assert (len(found.rule), len(found.message)) == (200, 500)


@pytest.mark.parametrize(
    ("rule", "driver"),
    [
        ({"id": "B105", "name": "hardcoded_password_string"}, "Bandit"),
        ({"id": "B999", "properties": {"tags": ["external/cwe/cwe-798"]}}, "Bandit"),
        ({"id": "generic-api-key"}, "gitleaks"),
        ({"id": "jwt"}, "gitleaks"),
        ({"id": "X1", "shortDescription": {"text": "Secret in code"}}, "semgrep"),
    ],
)
def test_a_rule_about_secrets_never_shows_the_tools_message(rule: dict[str, Any], driver: str) -> None:
    tool = {"driver": {"name": driver, "rules": [rule]}}
    found = only(sarif(result(ruleId=rule["id"], message={"text": f"found: it's {PASSWORD}"}), tool=tool))
    assert PASSWORD not in repr(found)
    assert "not shown" in found.message


@pytest.mark.parametrize("quote", ['"', "'", "`"])
def test_a_literal_of_the_source_is_never_shown(quote: str) -> None:
    locations = at("a.py", snippet=f"connect({quote}{PASSWORD}{quote}, 'x')")
    found = only(sarif(result(message={"text": f"Call with {PASSWORD} is insecure"}, locations=locations)))
    assert found.message == "Call with [redacted] is insecure"


def test_a_literal_of_the_lines_around_is_never_shown() -> None:
    locations = at("a.py")
    locations[0]["physicalLocation"]["contextRegion"] = {"snippet": {"text": f'key = "{PASSWORD}"'}}
    assert PASSWORD not in repr(only(sarif(result(message={"text": PASSWORD}, locations=locations))))


def test_what_is_shaped_like_a_secret_is_never_shown() -> None:
    assert "AKIA" not in only(sarif(result(message={"text": "found AKIAIOSFODNN7EXAMPLE"}))).message


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ({"invocations": [{"executionSuccessful": False}]}, "executionSuccessful"),
        ({"invocations": [{"executionSuccessful": True}, {"executionSuccessful": False}]}, "executionSuccessful"),
        ({"invocations": [{}]}, "executionSuccessful"),
        (
            {"invocations": [{"executionSuccessful": True, "toolExecutionNotifications": [{"level": "error"}]}]},
            "1 errors",
        ),
        (
            {"invocations": [{"executionSuccessful": True, "toolConfigurationNotifications": [{"level": "error"}]}]},
            "1 errors",
        ),
        ({"results": None}, "results"),
        ({"results": [{"ruleId": "R1"}]}, "message"),
        ({"results": [result(level="fatal")]}, "level"),
        ({"results": "none"}, "results"),
        ({"tool": {}}, "driver"),
    ],
)
def test_a_run_that_failed_or_is_not_whole_is_refused(run: dict[str, Any], told: str) -> None:
    assert told in problem(json.dumps(sarif(**run)))


def test_a_run_without_results_is_refused_for_not_having_looked() -> None:
    report = sarif()
    del report["runs"][0]["results"]
    assert "results" in problem(json.dumps(report))


@pytest.mark.parametrize("level", ["warning", "note", "none"])
def test_lesser_notifications_do_not_fail_a_run(level: str) -> None:
    done = {"executionSuccessful": True, "toolExecutionNotifications": [{"level": level}, {}]}
    assert findings(sarif(invocations=[done])) == ()


def test_null_stands_for_a_property_that_is_left_out() -> None:
    rule = {"id": "R1", "name": None, "properties": None}
    assert only(sarif(result(level=None, locations=None, properties=None), rules=(rule,))).severity == "medium"


@pytest.mark.parametrize(
    "text",
    ["", " \n", "{", "null", "[]", "{}", '"x"', "NaN", "[" * 100_000, '{"version": "2.1.0", "runs": []}',
     '{"version": "2.0.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": []}]}'],
)  # fmt: skip
@pytest.mark.parametrize("report_format", ["sarif", "detect-secrets"])
def test_a_text_that_is_no_report_is_refused(text: str, report_format: str) -> None:
    assert problem(text, report_format)


@given(st.data())
def test_a_report_that_is_cut_anywhere_is_refused(data: st.DataObject) -> None:
    text = json.dumps(sarif(result(locations=at("a.py")), invocations=[{"executionSuccessful": True}]))
    assert problem(text[: data.draw(st.integers(0, len(text) - 1))])


def test_an_invalid_report_is_refused_without_quoting_it() -> None:
    told = problem(json.dumps(sarif({"message": PASSWORD, "locations": PASSWORD, "level": PASSWORD, "kind": PASSWORD})))
    assert PASSWORD not in told
    assert "and 1 more" in told
    assert PASSWORD not in problem('{"version": "2.1.0", "runs": ["' + PASSWORD)


def test_a_byte_order_mark_is_no_fault() -> None:
    assert parse_report("sarif", "\ufeff" + json.dumps(sarif()), tool="lint", tree=TREE) == ()


def secrets_report(**more: Any) -> dict[str, Any]:
    found = {"type": "AWS Access Key", "filename": "a.env", "hashed_secret": "25910f98", "line_number": 2}
    return {"version": "1.5.0", "plugins_used": [{"name": "AWSKeyDetector"}], "results": {"./a.env": [found]}, **more}


def test_a_detected_secret_is_a_high_finding_without_its_hash() -> None:
    found = only(secrets_report(), "detect-secrets")
    assert (found.tool, found.rule, found.severity, found.path, found.line) == (
        "lint",
        "AWS Access Key",
        "high",
        "a.env",
        2,
    )
    assert "25910f98" not in repr(found)


def test_no_detected_secrets_are_no_findings() -> None:
    assert findings(secrets_report(results={}), "detect-secrets") == ()


@pytest.mark.parametrize("part", ["version", "plugins_used", "results"])
def test_a_detect_secrets_report_without_one_of_its_parts_is_refused(part: str) -> None:
    report = secrets_report()
    del report[part]
    assert part in problem(json.dumps(report), "detect-secrets")


def test_a_detect_secrets_run_without_plugins_is_refused_as_it_looked_for_nothing() -> None:
    assert "plugins_used" in problem(json.dumps(secrets_report(plugins_used=[])), "detect-secrets")


def test_the_report_of_the_other_tool_is_refused() -> None:
    assert problem(json.dumps(sarif()), "detect-secrets")
    assert problem(json.dumps(secrets_report()), "sarif")
