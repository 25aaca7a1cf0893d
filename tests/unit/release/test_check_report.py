"""What a person reads about a check."""

from dataclasses import replace
from datetime import UTC, datetime

from tasks.release.check_report import Checked, check_text
from tasks.release.model import Commit, Evidence
from tasks.release.request import CheckRequest

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COMMIT, RULES = (Commit(digit * 40, "Say <b>hello</b>", "eve", NOON) for digit in "ab")
CHECKED = Checked(
    CheckRequest(service="campus", commit=COMMIT.sha, ref="refs/pull/7/head", pull_request="7", requested_by="eve|x"),
    COMMIT,
    RULES,
    "slipway-check",
    ("DATABASE_URL",),
)


def noted(kind: str, name: str, **facts: object) -> Evidence:
    return Evidence("run", kind, name, NOON, facts, 1.5)


EVIDENCE = (
    noted("check-out", "aaaaaaa"),
    noted("build", "aaaaaaa", digest="sha256:1"),
    noted("test", "unit | fast", exit_code=1, error="Refused"),
    noted("coverage", "coverage.json", covered_percent=81.5, at_least_percent=80.0),
    noted("scan", "lint", found=3, new=1, known=1, accepted=1, blocking=0),
    noted("scan", "silent", error="Refused"),
)


def test_summary_comes_first_then_what_it_was_judged_by_then_the_tables() -> None:
    text = check_text(CHECKED, EVIDENCE, None)
    order = ["# campus aaaaaaa, pull request 7", "The check **passed**", "bbbbbbb", "## Build", "## Cover", "## Scans"]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    for part in (
        "| unit \\| fast | **failed** | 1.5 s |",
        "| coverage.json | 81.5 % | 80.0 % |",
        "| lint | 3 | 1 | 1 | 1 | 0 |",
        "| silent | no answer | no answer | no answer | no answer | no answer |",
        "DATABASE\\_URL",
        "| slipway-check |",
        "eve\\|x (not authenticated)",
        "Say &lt;b&gt;hello&lt;/b&gt;",
    ):
        assert part in text
    assert "## Why" not in text


def test_failure_says_why_before_the_tables() -> None:
    text = check_text(CHECKED, EVIDENCE, "Refused: test 'unit' failed\n  on: campus")
    assert "The check **failed**" in text
    assert text.index("Refused: test 'unit' failed") < text.index("## Build")


def test_check_that_got_nowhere_and_ran_as_the_worker_s_user_says_so() -> None:
    text = check_text(replace(CHECKED, user="", without=()), (), None)
    assert "the worker's own user, which can read its files" in text
    assert "not given" not in text
    assert "##" not in text.replace("# campus", "")
