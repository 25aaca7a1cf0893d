"""What a month of releases comes to."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.release.model import Kind, Outcome, ReleaseRecord
from tasks.release.month import lines, month_of, report

BEGIN, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)


def record(day: int, outcome: Outcome, *, minutes: int = 10, kind: Kind = Kind.RELEASE, **more: str) -> ReleaseRecord:
    at = BEGIN + timedelta(days=day)
    given = {"service": "campus", "environment": "production", **more}
    ended = at + timedelta(minutes=minutes) if outcome is not Outcome.RUNNING else None
    return ReleaseRecord(
        id=f"{day}-{kind}-{given['environment']}", kind=kind, release="r", commit="c", subject="s", strategy="canary",
        requested_by="ada", started_at=at, outcome=outcome, ended_at=ended, **given,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2026-02", (2026, 2), (2026, 3)),
        ("2026-12", (2026, 12), (2027, 1)),
        ("", (2025, 12), (2026, 1)),
    ],
)
def test_month_ends_where_the_next_begins(text: str, begin: tuple[int, int], end: tuple[int, int]) -> None:
    found = month_of(text, datetime(2026, 1, 1, 4, tzinfo=UTC))
    assert found == (datetime(*begin, 1, tzinfo=UTC), datetime(*end, 1, tzinfo=UTC))


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "October", "2026-10-01"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"[Ii]nvalid|month"):
        month_of(text, BEGIN)


def test_failed_before_production_is_no_change_failure_and_rolled_back_is() -> None:
    outcomes = [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.SUCCEEDED, Outcome.UNSAFE]
    (line,) = lines([record(day, outcome) for day, outcome in enumerate(outcomes)], BEGIN, END)
    assert (line.reached, line.outcomes[Outcome.FAILED], line.bad_percent) == (4, 1, 50)


def test_time_that_was_bad_ends_with_what_mended_it() -> None:
    unsafe = record(1, Outcome.UNSAFE)
    mended = record(2, Outcome.SUCCEEDED, kind=Kind.ROLLBACK, minutes=5)
    turned_back = record(9, Outcome.ROLLED_BACK, minutes=3)
    (line,) = lines([turned_back, mended, unsafe], BEGIN, END)
    assert line.bad_for_s == (86400 + 300, 180)
    assert line.rollbacks == 1


def test_other_months_and_what_still_runs_do_not_count() -> None:
    found = lines(
        [record(-1, Outcome.SUCCEEDED), record(31, Outcome.SUCCEEDED), record(5, Outcome.RUNNING)], BEGIN, END
    )
    assert [line.reached for line in found] == [0]
    assert found[0].bad_percent is None


def test_report_has_a_line_for_each_place_and_says_so_when_there_was_nothing() -> None:
    found = lines([record(1, Outcome.SUCCEEDED), record(1, Outcome.SUCCEEDED, environment="staging")], BEGIN, END)
    text = report(BEGIN, found)
    assert text.startswith("# Releases in 2026-10\n\n2 releases reached an environment; 0 times one went bad")
    assert "| campus | production | 1 | 0 | 0 % | 0 | 10 min | |" in text
    assert "Nothing was released." in report(BEGIN, ())
