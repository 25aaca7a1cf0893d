from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.service import AcceptedFinding, Scan, Severity
from tasks.scan.judge import RECORDED_AT_MOST, facts, judge, recorded_findings
from tasks.scan.model import Finding, Judged, ScanReport, Verdict

TODAY = date(2026, 3, 10)
FINDINGS = st.lists(
    st.builds(
        Finding,
        tool=st.just("lint"),
        rule=st.sampled_from(["R1", "R2"]),
        severity=st.sampled_from(get_args(Severity)),
        path=st.sampled_from(["a.py", "b.py"]),
        line=st.integers(0, 99),
        message=st.sampled_from(["m 1", "m 2", "other"]),
    ),
    max_size=8,
)


@dataclass(frozen=True)
class Note:
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)


def finding(severity: Severity = "high", path: str = "a.py", line: int = 1, rule: str = "R1", **more: str) -> Finding:
    return Finding(more.get("tool", "lint"), rule, severity, path, line, more.get("message", "m"))


def accept(until: date = TODAY, **changes: Any) -> AcceptedFinding:
    given = {"tool": "lint", "rule": "R1", "reason": "looked at it twice", "until": until.isoformat(), **changes}
    return AcceptedFinding.model_validate(given)


def judged(
    *findings: Finding,
    accepted: tuple[AcceptedFinding, ...] = (),
    before: tuple[Finding, ...] | None = (),
    **spec: Any,
) -> Verdict:
    scan = Scan.model_validate({"tool": "lint", "command": ["lint", "{output}"], **spec})
    return judge([(scan, ScanReport("lint", findings, 0.1))], accepted, before, TODAY)


def only(verdict: Verdict) -> Judged:
    (found,) = verdict.findings
    return found


@pytest.mark.parametrize("severity", get_args(Severity))
def test_only_the_named_severities_block(severity: Severity) -> None:
    verdict = judged(*(finding(each) for each in get_args(Severity)), fail_on=[severity])
    assert [each.finding.severity for each in verdict.blocking] == [severity]


def test_nothing_blocks_where_no_severity_is_named() -> None:
    assert judged(finding("critical"), fail_on=[]).blocking == ()


@pytest.mark.parametrize(
    ("report_format", "wanted"),
    [
        ("sarif", ("critical", "high")),
        ("detect-secrets", ("critical", "high")),
        ("pip-audit", ("critical", "high", "medium")),
        ("npm-audit", ("critical", "high", "medium")),
    ],
)
def test_dependencies_block_from_medium_on_where_the_file_says_nothing(
    report_format: str, wanted: tuple[str, ...]
) -> None:
    verdict = judged(*(finding(each) for each in get_args(Severity)), format=report_format)
    assert tuple(each.finding.severity for each in verdict.blocking) == wanted


def test_each_tool_is_judged_by_its_own_bounds() -> None:
    strict = Scan(tool="strict", command=["{output}"], fail_on=["low"])
    loose = Scan(tool="loose", command=["{output}"], fail_on=["critical"])
    reports = [(scan, ScanReport(scan.tool, (finding("low", tool=scan.tool),), 0.1)) for scan in (strict, loose)]
    assert [each.finding.tool for each in judge(reports, (), None, TODAY).blocking] == ["strict"]


def test_the_most_severe_comes_first_then_by_path_and_line() -> None:
    ordered = [finding("critical", "z.py"), finding("high", "a.py", 2), finding("high", "a.py", 10), finding("low")]
    assert [each.finding for each in judged(*reversed(ordered)).findings] == ordered


def test_finding_that_moved_and_whose_numbers_changed_is_known() -> None:
    before = finding(line=3, message="function has complexity 14")
    assert only(judged(finding(line=90, message="function has complexity 15"), before=(before,))).known


@pytest.mark.parametrize(
    "other",
    [{"path": "b.py"}, {"rule": "R2"}, {"message": "another"}, {"tool": "other"}],
    ids=lambda each: next(iter(each)),
)
def test_finding_of_another_rule_path_message_or_tool_is_new(other: dict[str, str]) -> None:
    assert not only(judged(finding(), before=(finding(**other),))).known  # type: ignore[arg-type]


def test_second_finding_of_the_same_kind_in_a_file_is_new() -> None:
    verdict = judged(finding(line=1), finding(line=2), before=(finding(line=1),))
    assert (len(verdict.known), len(verdict.new)) == (1, 1)


def test_known_finding_blocks_like_a_new_one() -> None:
    assert only(judged(finding(), before=(finding(),))).blocks


def test_everything_is_new_and_said_to_be_so_without_a_former_release() -> None:
    verdict = judged(finding(), before=None)
    assert (len(verdict.new), verdict.compared) == (1, False)
    assert judged(finding(), before=()).compared


def test_accepted_finding_does_not_block_and_is_neither_new_nor_known() -> None:
    verdict = judged(finding(), accepted=(accept(),))
    assert [each.finding for each in verdict.accepted] == [finding()]
    assert (verdict.blocking, verdict.new, verdict.known) == ((), (), ())


@pytest.mark.parametrize(("days", "blocks"), [(-1, True), (0, False), (1, False)])
def test_acceptance_holds_up_to_and_with_its_last_day(days: int, blocks: bool) -> None:
    found = only(judged(finding(), accepted=(accept(TODAY + timedelta(days=days)),)))
    assert (found.blocks, found.expired, found.accepted) == (blocks, blocks, not blocks)


def test_expired_acceptance_is_named_with_its_finding() -> None:
    old = accept(TODAY - timedelta(days=1))
    assert only(judged(finding(), accepted=(old,))).acceptance == old


@pytest.mark.parametrize("order", [1, -1])
def test_expired_acceptance_beside_one_that_holds_does_not_matter(order: int) -> None:
    both = (accept(TODAY - timedelta(days=1)), accept(path="a.py"))[::order]
    assert only(judged(finding(), accepted=both)).accepted


@pytest.mark.parametrize(
    "wrong", [{"tool": "other"}, {"rule": "R"}, {"rule": "r1"}, {"rule": "R1.*"}, {"path": "a"}, {"path": "A.PY"}],
    ids=str,
)  # fmt: skip
def test_acceptance_of_anything_else_accepts_nothing(wrong: dict[str, str]) -> None:
    found = only(judged(finding(), accepted=(accept(**wrong),)))
    assert found.blocks
    assert found.acceptance is None


def test_acceptance_without_a_path_holds_in_every_file_and_with_one_only_there() -> None:
    two = (finding(path="a.py"), finding(path="b.py"))
    assert judged(*two, accepted=(accept(),)).blocking == ()
    (blocker,) = judged(*two, accepted=(accept(path="a.py"),)).blocking
    assert blocker.finding.path == "b.py"


@given(FINDINGS, FINDINGS, st.integers(-1, 1))
def test_whatever_is_found_each_finding_is_in_exactly_one_group(
    found: list[Finding], before: list[Finding], days: int
) -> None:
    verdict = judged(*found, before=tuple(before), accepted=(accept(TODAY + timedelta(days=days)),))
    assert sorted(map(repr, (*verdict.new, *verdict.known, *verdict.accepted))) == sorted(map(repr, verdict.findings))
    assert not any(each.blocks and each.accepted for each in verdict.findings)


@given(FINDINGS)
def test_release_after_one_with_the_same_findings_has_nothing_new(found: list[Finding]) -> None:
    noted = Note("scan", facts(judged(*found)))
    assert judged(*found, before=recorded_findings([noted])).new == ()


def test_recorded_findings_are_those_of_every_scan_of_the_run() -> None:
    notes = [Note("scan", facts(judged(finding()))), Note("build"), Note("scan", facts(judged(finding(path="b.py"))))]
    assert recorded_findings(notes) == (finding(), finding(path="b.py"))


def test_record_tells_counts_fingerprint_and_acceptance() -> None:
    noted = facts(judged(finding(), finding("low", "b.py", rule="R2"), accepted=(accept(),)))
    assert {key: value for key, value in noted.items() if key != "findings"} == {
        "found": 2, "new": 1, "known": 0, "accepted": 1, "blocking": 0, "left_out": 0,
    }  # fmt: skip
    first = noted["findings"][0]  # type: ignore[index]
    assert (first["fingerprint"], first["accepted_until"]) == (finding().fingerprint, "2026-03-10")
    assert first["reason"] == "looked at it twice"


def test_long_record_keeps_the_most_severe_and_counts_what_is_left_out() -> None:
    noted = facts(judged(*(finding("low", f"f{n}") for n in range(RECORDED_AT_MOST)), finding("critical", "worst")))
    records: Any = noted["findings"]
    assert (noted["found"], noted["left_out"], len(records)) == (RECORDED_AT_MOST + 1, 1, RECORDED_AT_MOST)
    assert records[0]["path"] == "worst"


@pytest.mark.parametrize(
    "value",
    [None, 3, "text", [None], [{}], [{"tool": "x"}], [{**facts(judged(finding()))["findings"][0], "line": "1"}]],  # type: ignore[index]
)
def test_what_is_no_recorded_finding_is_left_out(value: object) -> None:
    assert recorded_findings([Note("scan", {"findings": value}), Note("scan")]) == ()
