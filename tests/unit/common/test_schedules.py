"""Schedules and windows: what is refused, and which runs are left out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.common.schedules import Schedule, Window, left_out, schedule_problems

DUE = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


def schedule(**keys: Any) -> Schedule:
    return Schedule.model_validate({"start": "monitor", "cron": "0 2 * * *", **keys})


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"cron": "0 25 * * *"}, "five fields"),
        ({"cron": "0 0 2 * * *"}, "five fields"),
        ({"cron": "nightly"}, "five fields"),
        ({"every": "1h"}, "both cron and every"),
        ({"cron": None}, "neither cron nor every"),
        ({"cron": None, "every": "5s"}, "60"),
        ({"time_zone": "Europe/Berlinn"}, "did you mean 'Europe/Berlin'?"),
        ({"overlap": "kill"}, "'skip' or 'queue'"),
        ({"success_within": "24h"}, "go out for nothing"),
        ({"cron": "0 3 * * 0", "success_within": "6d"}, "go out for nothing"),
        ({"cron": "0 4 1 * *", "success_within": "30d"}, "go out for nothing"),
        ({"start_within": "1"}, "unit"),
        ({"retries": 3}, "Extra inputs"),
    ],
)
def test_schedule_that_cannot_be_kept_is_refused(keys: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word.replace("?", "\\?")):
        schedule(**keys)


def test_night_on_which_the_clock_goes_back_is_longer_than_a_day() -> None:
    assert schedule(time_zone="Europe/Berlin").longest_wait_s() == 25 * 3600
    assert schedule(time_zone="UTC").longest_wait_s() == 24 * 3600


def test_unknown_windows_and_a_taken_name_are_found_each_at_its_place() -> None:
    found = schedule_problems({"slipway": [], "drill": ["night", "nihgt"]}, ["night"])
    assert [each.place for each in found] == [("schedules", "slipway"), ("schedules", "drill", "only_in", 1)]
    assert "did you mean 'night'?" in found[1].found


@pytest.mark.parametrize(
    ("at", "holds"),
    [
        ("2026-03-01T22:59", False),  # a Sunday
        ("2026-03-01T23:00", True),
        ("2026-03-02T01:59", True),
        ("2026-03-02T02:00", False),
        ("2026-03-02T23:30", False),
        ("2026-03-01T01:00", False),
    ],
)
def test_window_over_midnight_belongs_to_the_day_on_which_it_begins(at: str, holds: bool) -> None:
    window = Window.model_validate({"days": ["sun"], "from": "23:00", "until": "02:00"})
    assert window.holds(datetime.fromisoformat(at).replace(tzinfo=UTC)) is holds


def test_window_goes_by_its_own_clock() -> None:
    window = Window.model_validate({"from": "02:00", "until": "03:00", "time_zone": "Asia/Tokyo"})
    assert window.holds(datetime(2026, 3, 1, 17, 30, tzinfo=UTC))
    assert not window.holds(datetime(2026, 3, 1, 2, 30, tzinfo=UTC))


def test_window_of_no_length_is_refused() -> None:
    with pytest.raises(ValidationError, match="another time"):
        Window.model_validate({"from": "02:00", "until": "02:00"})


def test_run_in_time_does_its_work() -> None:
    assert left_out(schedule(), {}, DUE, DUE + timedelta(minutes=1), made_up_for=False) == ""


def test_run_that_another_has_made_up_for_is_left_out() -> None:
    assert "another run has begun since" in left_out(schedule(), {}, DUE, DUE + timedelta(days=9), made_up_for=True)


def test_run_that_comes_too_late_is_left_out_and_says_how_late() -> None:
    late = schedule(start_within="1h")
    assert left_out(late, {}, DUE, DUE + timedelta(minutes=59), made_up_for=False) == ""
    assert "2 h ago" in left_out(late, {}, DUE, DUE + timedelta(hours=2), made_up_for=False)


def test_run_that_comes_when_its_window_is_over_is_left_out() -> None:
    night = {"night": Window.model_validate({"from": "02:00", "until": "05:00"})}
    drill = schedule(only_in=["night"])
    assert left_out(drill, night, DUE, DUE + timedelta(hours=2), made_up_for=False) == ""
    assert "outside of night" in left_out(drill, night, DUE, DUE + timedelta(hours=3), made_up_for=False)


def test_next_start_is_of_the_clock_of_the_schedule_and_within_its_windows() -> None:
    assert schedule().next_start(DUE, {}) == DUE + timedelta(days=1)
    assert schedule().next_start(DUE - timedelta(seconds=1), {}) == DUE
    assert schedule(time_zone="Europe/Berlin").next_start(DUE, {}) == DUE + timedelta(hours=23)
    sundays = {"sunday": Window.model_validate({"days": ["sun"], "from": "01:00", "until": "05:00"})}
    assert schedule(only_in=["sunday"]).next_start(DUE, sundays) == DUE + timedelta(days=7), "the 1st is a Sunday"
    assert schedule(cron="0 12 * * *", only_in=["sunday"]).next_start(DUE, sundays) is None, "it never is in there"
    assert schedule(enabled=False).next_start(DUE, {}) is None
    assert schedule(cron=None, every="1h").next_start(DUE, {}) == DUE + timedelta(hours=1), "at the latest"
