"""Scans and accepted findings in a service file: read as written, and every mistake told at its place."""

from datetime import date

import pytest

from tasks.common.load import load_service
from tests.unit.common.files import example, only, service_mistakes

ENTRY = """\
  - tool: bandit
    rule: B602
    path: campus/tools.py
    reason: Reads no input of users, and goes with issue 17
    until: 2027-03-31
"""
FILE = "blue-green.yaml"
TEXT = example(FILE) + "accepted_findings:\n" + ENTRY


def mistake(old: str, new: str) -> str:
    assert TEXT.count(old) == 1
    return only(service_mistakes(TEXT.replace(old, new))).partition(": ")[2]


def test_accepted_finding_is_read_as_written() -> None:
    (entry,) = load_service(TEXT, FILE).accepted_findings
    assert (entry.tool, entry.rule, entry.path) == ("bandit", "B602", "campus/tools.py")
    assert (entry.reason[:8], entry.until) == ("Reads no", date(2027, 3, 31))


def test_service_file_without_accepted_findings_accepts_nothing() -> None:
    assert load_service(example(FILE), FILE).accepted_findings == []


def test_acceptance_that_is_over_is_still_a_sound_file() -> None:
    assert load_service(TEXT.replace("2027-03-31", "2001-03-31"), FILE).accepted_findings


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tool: bandit\n    rule", "tool: bandid\n    rule", "accepted_findings[0].tool: found the unknown scanner"),
        ("    rule: B602\n", "", "accepted_findings[0].rule: found nothing; expected this key"),
        ("B602", "''", "accepted_findings[0].rule: found empty text"),
        ("campus/tools.py", "''", "accepted_findings[0].path: found empty text"),
        ("Reads no input of users, and goes with issue 17", "because", "accepted_findings[0].reason: found the text"),
        ("    until: 2027-03-31\n", "", "accepted_findings[0].until: found nothing; expected this key"),
        ("2027-03-31", "2027-02-30", "accepted_findings[0].until: found the text '2027-02-30'; expected a day of"),
        ("2027-03-31", "31.03.2027", "accepted_findings[0].until: found the text '31.03.2027'; expected a day of"),
        ("2027-03-31", "20270331", "accepted_findings[0].until: found the number 20270331; expected a day of"),
        ("2027-03-31", "90d", "accepted_findings[0].until: found the text '90d'; expected a day of"),
        ("2027-03-31", "2027-03-31T00:00:00", "accepted_findings[0].until: found the text"),
        ("rule: B602", "rules: B602\n    rule: B602", "accepted_findings[0].rules: found an unknown key"),
    ],
)
def test_mistake_in_an_accepted_finding_is_told_alone(old: str, new: str, said: str) -> None:
    assert mistake(old, new).startswith(said)


def test_unknown_scanner_is_told_with_the_known_ones() -> None:
    assert "(did you mean 'bandit'?); expected one of: " in mistake("tool: bandit\n    rule", "tool: bandid\n    rule")


def test_finding_that_is_accepted_twice_is_a_mistake_at_the_second_place() -> None:
    again = ENTRY.replace("issue 17", "issue 18")
    assert "accepted_findings[1].rule: found 'B602' a second time" in only(service_mistakes(TEXT + again))
    elsewhere = ENTRY.replace("campus/tools.py", "campus/other.py")
    assert len(load_service(TEXT + elsewhere, FILE).accepted_findings) == 2


def test_unknown_scanner_and_second_entry_are_told_beside_mistakes_elsewhere() -> None:
    text = TEXT + ENTRY + ENTRY.replace("bandit", "bandid")
    found = service_mistakes(text.replace("service: campus", "service: Campus"))
    assert [each.split(": ")[1] for each in found] == [
        "service",
        "accepted_findings[1].rule",
        "accepted_findings[2].tool",
    ]


@pytest.mark.parametrize("report_format", ["sarif", "detect-secrets", "pip-audit", "npm-audit"])
def test_every_format_can_be_named(report_format: str) -> None:
    text = example(FILE).replace('"{output}"]}', f'"{{output}}"], format: {report_format}, over: history}}')
    (first, *_) = load_service(text, FILE).scan
    assert (first.format, first.over) == (report_format, "history")


def test_scan_over_anything_else_is_a_mistake() -> None:
    text = example(FILE).replace('"{output}"]}', '"{output}"], over: histroy}')
    assert "scan[0].over: found the text 'histroy' (did you mean 'history'?)" in only(service_mistakes(text))


def test_bounds_that_a_file_names_replace_those_of_the_format() -> None:
    text = example(FILE).replace('"{output}"]}', '"{output}"], format: pip-audit, fail_on: [critical]}')
    (first, *_) = load_service(text, FILE).scan
    assert first.stopping == ("critical",)
