import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.service import Severity
from tasks.scan.judge import blocking, findings_table
from tasks.scan.model import Finding, ScanReport

FINDINGS = st.builds(
    Finding,
    tool=st.text(),
    rule=st.text(),
    severity=st.sampled_from(get_args(Severity)),
    path=st.text(st.sampled_from("ab|\\`\n<>[]()!*_~:@./")),
    line=st.integers(0, 9),
    message=st.text(st.one_of(st.sampled_from("|\\`\n\r<>&[]()!"), st.characters())),
)


def finding(severity: Severity, path: str = "a.py", line: int = 1, message: str = "m") -> Finding:
    return Finding("lint", "R1", severity, path, line, message)


def report(*findings: Finding) -> ScanReport:
    return ScanReport("lint", findings, 0.1)


@pytest.mark.parametrize("severity", get_args(Severity))
def test_only_the_named_severities_block(severity: Severity) -> None:
    every = report(*(finding(each) for each in get_args(Severity)))
    assert [blocker.severity for blocker in blocking(every, [severity])] == [severity]


def test_nothing_blocks_where_no_severity_is_named() -> None:
    assert blocking(report(finding("critical")), []) == ()


def test_the_most_severe_blocks_first_then_by_path_and_line() -> None:
    ordered = [finding("critical", "z.py"), finding("high", "a.py", 2), finding("high", "a.py", 10), finding("low")]
    assert blocking(report(*reversed(ordered)), get_args(Severity)) == tuple(ordered)


def test_a_table_shows_each_finding_in_a_row() -> None:
    table = findings_table([finding("low", line=0), finding("high", "src/a.py", 12)])
    assert table.splitlines() == [
        "| severity | tool | rule | where | what |",
        "|---|---|---|---|---|",
        "| high | lint | R1 | src/a\\.py\\:12 | m |",
        "| low | lint | R1 | a\\.py | m |",
    ]


def test_no_findings_are_told_in_words() -> None:
    assert findings_table(()) == "No findings.\n"


def test_a_finding_without_a_file_says_so() -> None:
    assert "no file" in findings_table([finding("high", path="", line=0)])


def test_a_long_table_keeps_the_most_severe_and_counts_the_rest() -> None:
    table = findings_table([finding("low", f"f{n}") for n in range(250)] + [finding("critical", "worst")])
    assert "worst" in table.splitlines()[2]
    assert "and 51 more" in table


@given(st.lists(FINDINGS, min_size=1, max_size=5))
def test_no_text_breaks_out_of_its_cell(findings: list[Finding]) -> None:
    rows = findings_table(findings).split("\n")[2:-1]
    assert len(rows) == len(findings)
    for row in rows:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 6
        assert "<" not in row
        assert not re.search(r"[\r\u2028\x0b\x0c]", row)


@pytest.mark.parametrize(
    "text", ["![x](http://evil)", "[x](javascript:y)", "<img src=x>", "http://evil", "a@b.c", "`x`"]
)
def test_no_text_becomes_a_link_an_image_or_html(text: str) -> None:
    cell = findings_table([finding("high", message=text)]).splitlines()[2].split(" | ")[4]
    assert not re.search(r"(?<!\\)[\[\]()`:@]|<", cell)
