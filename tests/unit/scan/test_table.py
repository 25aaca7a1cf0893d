import re
from datetime import date
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.service import AcceptedFinding, Severity
from tasks.scan.model import Finding, Judged, Verdict
from tasks.scan.table import scans_text

FINDINGS = st.builds(
    Finding,
    tool=st.text(),
    rule=st.text(),
    severity=st.sampled_from(get_args(Severity)),
    path=st.text(st.sampled_from("ab|\\`\n<>[]()!*_~:@./")),
    line=st.integers(0, 9),
    message=st.text(st.one_of(st.sampled_from("|\\`\n\r<>&[]()!"), st.characters())),
)
ENTRY = AcceptedFinding(tool="lint", rule="R1", reason="a test's own data | ok", until="2026-03-10")  # type: ignore[arg-type]


def finding(severity: Severity = "high", path: str = "src/a.py", line: int = 12, message: str = "m") -> Finding:
    return Finding("lint", "R1", severity, path, line, message)


def shown(*found: Judged, compared: bool = True, failed: dict[str, str] | None = None) -> str:
    return scans_text(["lint", "leaks"], Verdict(found, compared), failed or {})


def rows(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith("| ") and not line.startswith("| ---")]


def test_summary_comes_first_and_tells_tools_and_counts() -> None:
    new, known = Judged(finding(), known=False, blocks=True), Judged(finding("low"), known=True, blocks=False)
    first, second, *_ = shown(new, known, Judged(finding(), False, False, ENTRY)).splitlines()
    assert first == (
        "The release was **stopped**: 2 of 2 tools answered, 1 findings block (1 new, 1 known, 1 accepted)."
    )
    assert second == "Tools: lint, leaks."


def test_clean_scans_say_that_nothing_stops_the_release() -> None:
    assert shown() == (
        "Nothing stops the release: 2 of 2 tools answered, 0 findings block (0 new, 0 known, 0 accepted).\n"
        "Tools: lint, leaks.\n"
    )


def test_first_release_says_that_it_is_compared_with_nothing() -> None:
    assert "no former release" in shown(compared=False)
    assert "no former release" not in shown()


def test_new_findings_come_before_known_and_known_before_accepted() -> None:
    text = shown(Judged(finding(), True, True), Judged(finding(), False, False, ENTRY), Judged(finding(), False, True))
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["New", "Known from the last release", "Accepted"]


def test_a_row_tells_whether_it_blocks_what_it_is_and_where() -> None:
    text = shown(Judged(finding(), known=False, blocks=True), Judged(finding("low", "", 0), known=False, blocks=False))
    assert rows(text)[1:] == [
        "| **blocks** | high | lint | R1 | src/a.py:12 | m |",
        "| | low | lint | R1 | (no file) | m |",
    ]


def test_accepted_finding_is_shown_with_reason_and_last_day() -> None:
    assert "| m | a test's own data \\| ok | 2026-03-10 |" in shown(Judged(finding(), False, False, ENTRY))


def test_expired_acceptance_is_named_in_summary_and_row() -> None:
    text = shown(Judged(finding(), known=False, blocks=True, acceptance=ENTRY, expired=True))
    assert "1 were accepted until a day that is over" in text
    assert "accepted until 2026-03-10, which is over: a test's own data" in text


def test_tool_without_an_answer_is_shown_with_its_reason() -> None:
    text = shown(failed={"leaks": "the scan gave no answer: it <crashed>"})
    assert "**stopped**: 1 of 2 tools answered" in text
    assert "| leaks | the scan gave no answer: it &lt;crashed&gt; |" in text


def test_a_long_table_keeps_the_most_severe_and_counts_the_rest() -> None:
    found = [Judged(finding(path=f"f{n}"), known=False, blocks=False) for n in range(250)]
    text = shown(*found)
    assert len(rows(text)) == 201
    assert "and 50 more" in text


@given(st.lists(FINDINGS, min_size=1, max_size=5))
def test_no_text_breaks_out_of_its_cell(findings: list[Finding]) -> None:
    text = shown(*(Judged(each, known=False, blocks=True) for each in findings))
    found = text.partition("| --- | --- | --- | --- | --- | --- |\n")[2].removesuffix("\n").split("\n")
    assert len(found) == len(findings)
    for row in found:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 7
        assert "<" not in row
        assert not re.search(r"[\r\u2028\x0b\x0c]", row)


@pytest.mark.parametrize(
    "text", ["![x](http://evil)", "[x](javascript:y)", "<img src=x>", "http://evil", "a@b.c", "`x`"]
)
def test_no_text_becomes_a_link_an_image_or_html(text: str) -> None:
    cell = rows(shown(Judged(finding(message=text), known=False, blocks=False)))[1].split(" | ")[5]
    assert not re.search(r"(?<!\\)[\[\]`@]|(?<!\\)://|<", cell)


def test_day_is_read_from_text() -> None:
    assert ENTRY.until == date(2026, 3, 10)
