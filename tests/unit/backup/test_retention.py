"""Which backups stay, case by case, with the reason that people are told."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tasks.backup.retention import Decision, plan_retention
from tasks.common.backup_plans import Retention
from tasks.common.backups import Entry
from tests.support.catalogue import NOW, entry

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NONE = {"hourly": 0, "daily": 0, "weekly": 0, "monthly": 0, "minimum": 1}
"""Only the minimum, so that a test sees what it is about."""


def plan(entries: Sequence[Entry], **retention: int) -> dict[str, str]:
    """Return label and reason of each that stays; those that go are left out."""
    found = plan_retention(entries, Retention(**{**NONE, **retention}), NOW)
    return {each.entry.stored.label: each.reason for each in found if each.keep}


def dropped(entries: Sequence[Entry], **retention: int) -> dict[str, str]:
    found = plan_retention(entries, Retention(**{**NONE, **retention}), NOW)
    return {each.entry.stored.label: each.reason for each in found if not each.keep}


def aged(hours: float, label: str = "", **fields: object) -> Entry:
    return entry(NOW - timedelta(hours=hours), label=label or f"{hours}h", **fields)  # type: ignore[arg-type]


def test_nothing_to_plan_is_no_plan() -> None:
    assert plan_retention((), Retention(), NOW) == ()


def test_decisions_come_in_the_order_of_the_entries_without_the_expired() -> None:
    entries = [aged(2), aged(0), aged(1, expired_at=NOW), aged(3)]
    assert [each.entry for each in plan_retention(entries, Retention(), NOW)] == [entries[0], entries[1], entries[3]]


def test_what_nothing_asks_for_goes_and_says_so() -> None:
    (decision,) = [each for each in plan_retention([aged(0), aged(1)], Retention(**NONE), NOW) if not each.keep]
    assert decision == Decision(aged(1), False, "nothing asks for it")


def test_newest_of_each_period_stays_and_names_the_period() -> None:
    backups = [entry(datetime(2026, 11, 20, hour, 30, tzinfo=UTC), label=f"{hour}") for hour in (10, 12, 13, 14)]
    assert plan(backups, hourly=2) == {
        "14": "among the 1 newest; newest of the hour 2026-11-20 14:00",
        "13": "newest of the hour 2026-11-20 13:00",
    }
    assert plan([*backups, aged(48, "old")], daily=2)["old"] == "newest of the day 2026-11-18"
    assert plan([*backups, aged(24 * 7, "old")], weekly=2)["old"] == "newest of the week 2026-W46"
    assert plan([*backups, aged(24 * 30, "old")], monthly=2)["old"] == "newest of the month 2026-10"


@pytest.mark.parametrize(
    ("day", "week"),
    [((2027, 1, 3), "2026-W53"), ((2027, 1, 4), "2027-W01"), ((2024, 12, 30), "2025-W01"), ((2026, 1, 1), "2026-W01")],
)
def test_weeks_are_those_of_iso_also_around_the_new_year(day: tuple[int, int, int], week: str) -> None:
    (found,) = plan_retention(
        [entry(datetime(*day, 12, tzinfo=UTC))], Retention(**{**NONE, "weekly": 1}), NOW + 400 * DAY
    )
    assert f"newest of the week {week}" in found.reason


@pytest.mark.parametrize(("period", "weeks"), [("weekly", 52), ("monthly", 52)])
def test_same_week_or_month_of_another_year_is_another_one(period: str, weeks: int) -> None:
    backups = [aged(0), aged(24 * 7 * weeks, "a-year-ago")]
    assert plan(backups, **{period: 2})["a-year-ago"].startswith(f"newest of the {period[:-2]} 2025-")


def test_days_end_at_midnight_utc_wherever_the_time_was_written() -> None:
    east = timezone(timedelta(hours=9))
    backups = [entry(datetime(2026, 11, 20, 8, 59, tzinfo=east), label="19th"), aged(0, "20th")]
    assert plan(backups, daily=2)["19th"] == "newest of the day 2026-11-19"


def test_periods_without_a_backup_do_not_count_so_that_a_pause_drops_nothing() -> None:
    backups = [aged(24 * days) for days in (0, 1, 200, 201)]
    assert len(plan(backups, daily=4)) == 4
    later = plan_retention(backups, Retention(**{**NONE, "daily": 4}), NOW + 3650 * DAY)
    assert all(each.keep for each in later)


def test_repositories_plans_and_engines_are_judged_by_themselves() -> None:
    old = [aged(9, "a"), aged(9, "b", repository=2), aged(9, "c", plan="uploads"), aged(9, "d", engine="restic")]
    assert set(plan([aged(0, "new"), *old])) == {"new", "b", "c", "d"}


# --- what must never be dropped


def test_so_many_of_the_newest_stay_whatever_their_age() -> None:
    backups = [aged(10_000 * number) for number in range(1, 6)]
    assert set(plan(backups, minimum=3)) == {"10000h", "20000h", "30000h"}
    assert dropped(backups, minimum=5) == {}


def test_increments_of_one_base_do_not_make_up_the_minimum() -> None:
    backups = [
        aged(30, "old-full"),
        aged(20, "full"),
        aged(2, "i1", needs=["full"]),
        aged(1, "i2", needs=["full", "i1"]),
    ]
    kept = plan([*backups, aged(40, "older-full")], minimum=2)
    assert set(kept) == {"i1", "i2", "full", "old-full"}
    assert kept["old-full"] == "among the 2 newest that need no other"


def test_what_a_kept_one_needs_stays_also_by_way_of_others() -> None:
    backups = [aged(9, "full"), aged(8, "diff", needs=["full"]), aged(0, "incr", needs=["diff"]), aged(5, "other")]
    kept = plan(backups)
    assert kept["diff"] == "needed by incr"
    assert kept["full"] == "needed by diff"
    assert kept["other"] == "among the 1 newest that need no other"


def test_held_one_stays_with_its_reason_and_what_it_needs() -> None:
    backups = [aged(0), aged(1), aged(2, "full"), aged(1.5, "i", needs=["full"], held="court order 7")]
    assert plan(backups)["i"] == "held: court order 7"
    assert plan(backups)["full"] == "needed by i"
    assert "full" not in plan([*backups[:3]])


def test_last_verified_stays_also_when_nothing_else_asks_for_it() -> None:
    proven = NOW - DAY
    backups = [aged(0), aged(1), aged(2, verified_at=proven), aged(3, verified_at=proven)]
    assert plan(backups)["2h"] == "the last one that was verified"
    assert dropped(backups) == {"1h": "nothing asks for it", "3h": "nothing asks for it"}


def test_one_whose_verification_is_the_latest_stays_beside_the_newest_that_was_verified() -> None:
    backups = [
        aged(0),
        aged(2, verified_at=NOW - 30 * DAY),
        aged(900, verified_at=NOW),
        aged(901, verified_at=NOW - DAY),
    ]
    kept = plan(backups)
    assert kept["2h"] == "the last one that was verified"
    assert kept["900h"] == "the one whose verification is the latest"
    assert "901h" not in kept


def test_one_that_was_found_unsound_since_is_not_the_last_verified_while_there_is_another() -> None:
    bad = aged(1, verified_at=NOW - DAY, unsound_at=NOW)
    assert plan([aged(0), bad, aged(2, verified_at=NOW - DAY)])["2h"] == "the last one that was verified"
    kept = plan([aged(0), bad, aged(2)])
    assert kept["1h"] == "the last one that was verified; found unsound at 2026-11-20 14:30"


def test_unsound_one_does_not_fill_a_period_that_has_a_better_one() -> None:
    backups = [aged(0, "now"), aged(25, "bad", unsound_at=NOW), aged(26, "good")]
    assert plan(backups, daily=2)["good"] == "newest of the day 2026-11-19"
    assert dropped(backups, daily=2) == {"bad": "nothing asks for it; found unsound at 2026-11-20 14:30"}


def test_unsound_one_stays_while_nothing_better_is_there_of_its_time() -> None:
    backups = [aged(0, "now"), aged(25, "bad", unsound_at=NOW), aged(26, "worse", unsound_at=NOW), aged(49, "old")]
    kept = plan(backups, daily=2)
    assert kept["bad"] == "nothing better of the day 2026-11-19; found unsound at 2026-11-20 14:30"
    assert kept["old"] == "newest of the day 2026-11-18", "days in doubt do not take the place of others"
    assert "worse" not in kept


def test_unsound_ones_from_before_the_oldest_that_counts_go() -> None:
    assert set(plan([aged(0), aged(25), aged(49, unsound_at=NOW)], daily=2)) == {"0h", "25h"}


def test_checks_that_are_wrong_themselves_do_not_cost_the_newest_data() -> None:
    """A suite that finds every new backup wrong: the sound ones stay, and the new ones do not go."""
    days = [aged(24 * number, unsound_at=NOW if number < 40 else None) for number in range(60)]
    kept = plan(days, daily=30)
    assert {f"{24 * number}h" for number in range(30)} <= set(kept)
    assert {f"{24 * number}h" for number in range(40, 60)} <= set(kept)


def test_newest_of_all_stays_whatever_was_found_of_it() -> None:
    kept = plan([aged(0, unsound_at=NOW), aged(1)])
    assert kept == {
        "0h": "the newest; found unsound at 2026-11-20 14:30",
        "1h": "among the 1 newest",
    }


def test_where_all_are_unsound_the_minimum_stays() -> None:
    assert set(plan([aged(hours, unsound_at=NOW) for hours in range(5)], minimum=3)) == {"0h", "1h", "2h"}


def test_what_builds_on_an_unsound_one_is_in_doubt_until_it_was_verified_itself() -> None:
    base = aged(9, "base", unsound_at=NOW - HOUR)
    late = [aged(2, "i", needs=["base"]), aged(1, "j", needs=["i"])]
    good = aged(20, "good")
    assert plan([base, *late, good])["good"] == "among the 1 newest"
    assert plan([base, *late, good])["j"] == "the newest; it needs base: found unsound at 2026-11-20 13:30"
    proven = replace(late[1], verified_at=NOW)
    assert plan([base, late[0], proven, good])["j"] == "among the 1 newest; the last one that was verified"


def test_verification_between_two_findings_only_outlives_the_first() -> None:
    early, late = aged(9, "early", unsound_at=NOW - 3 * HOUR), aged(8, "late", unsound_at=NOW - HOUR)
    middle = aged(7, "middle", needs=["early", "late"])
    top = aged(0, "top", needs=["middle"], verified_at=NOW - 2 * HOUR)
    assert "it needs late: found unsound" in plan([early, late, middle, top])["top"]
    sound = replace(late, unsound_at=None)
    assert "found unsound" not in plan([early, sound, middle, top])["top"]


def test_what_was_found_of_a_backup_itself_is_told_before_what_it_builds_on() -> None:
    base, own = aged(1, "base", unsound_at=NOW), aged(0, "own", needs=["base"], unsound_at=NOW - HOUR)
    assert plan([base, own])["own"].endswith("; found unsound at 2026-11-20 13:30")


def test_one_whose_base_is_not_there_is_in_doubt_even_if_it_was_verified() -> None:
    lost = aged(0, "lost", needs=["gone"], verified_at=NOW)
    kept = plan([lost, aged(1, "good")])
    assert (
        kept["lost"].endswith("the newest; it needs gone, which is not there") or "which is not there" in kept["lost"]
    )
    assert kept["good"].startswith("among the 1 newest")


def test_one_that_its_engine_calls_wrong_is_in_doubt_until_it_was_verified() -> None:
    wrong = replace(aged(0), stored=replace(aged(0).stored, error="checksum of page 7"))
    assert plan([wrong, aged(1)])["0h"] == "the newest; the engine says: checksum of page 7"
    assert set(plan([replace(wrong, verified_at=NOW), aged(1)])) == {"0h"}


def test_backup_from_the_future_stays_fills_nothing_and_says_so() -> None:
    ahead = [entry(NOW + DAY, label="ahead"), entry(NOW + 2 * DAY, label="ahead-too", needs=["base"])]
    kept = plan([*ahead, aged(0), aged(1), aged(2, "base")], hourly=2)
    assert kept["ahead"] == "from the future: a clock is wrong, for it ended at 2026-11-21 14:30:00 UTC"
    assert set(kept) == {"ahead", "ahead-too", "base", "0h", "1h"}
    assert kept["base"] == "needed by ahead-too"


def test_backup_of_this_very_moment_is_not_from_the_future() -> None:
    assert "future" not in plan([aged(0)])["0h"]


def test_backup_that_ended_before_it_began_stays_for_its_age_is_not_known() -> None:
    odd = aged(9000, "odd")
    odd = replace(odd, stored=replace(odd.stored, started_at=NOW))
    assert plan([odd, aged(0)])["odd"].startswith("it ended before it began: a clock was set back")


def test_circle_of_needs_ends() -> None:
    assert set(plan([aged(0, "a", needs=["b"]), aged(1, "b", needs=["a"])])) == {"a", "b"}


def test_backup_in_use_stays_with_what_it_needs_and_says_who_works_with_it() -> None:
    full, increment = aged(30, "full"), aged(20, "increment", needs=("full",))
    entries = [aged(0, "new"), aged(10, "idle"), increment, full]
    used = {increment.id: ["is being verified by run 1234", "is being restored by run 5678"]}
    found = plan_retention(entries, Retention(**NONE), NOW, used)
    assert {each.entry.stored.label: each.reason for each in found if each.keep} == {
        "new": "among the 1 newest",
        "increment": "is being verified by run 1234; is being restored by run 5678",
        "full": "needed by increment",
    }
