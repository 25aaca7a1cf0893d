"""What holds for every plan of retention. Without deadlines: how fast it is, is measured in tests/bench."""

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.backup.retention import plan_retention
from tasks.common.backup_plans import Retention
from tasks.common.backups import Entry
from tests.support.catalogue import NOW, entry

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
COUNTS = {name: st.integers(0, 5) for name in ("hourly", "daily", "weekly", "monthly")}
RETENTIONS = st.builds(Retention, **COUNTS, minimum=st.integers(1, 4))
Keys = Sequence[tuple[int, Callable[[datetime], Hashable]]]


@st.composite
def worlds(draw: st.DrawFn, doubts: bool = True) -> list[Entry]:
    """Return backups of two repositories: chains, holds, verified, unsound, from the future, without their base."""
    found: list[Entry] = []
    for number in range(draw(st.integers(0, 25))):
        # Small steps as well as large ones, so that hours, days, weeks and months all have several.
        hours = draw(st.one_of(st.integers(0, 60), st.integers(0, 24 * 200)))
        repository = draw(st.sampled_from((1, 1, 1, 2)))
        others = [each.stored.label for each in found if each.repository == repository]
        needs = draw(st.lists(st.sampled_from(others), max_size=2, unique=True)) if others else []
        times = st.one_of(st.none(), st.integers(0, 300))
        verified, unsound = (draw(times), draw(times)) if doubts else (None, None)
        ago = [None if each is None else NOW - each * HOUR for each in (verified, unsound)]
        if ago[0] and ago[1] and ago[1] <= ago[0]:
            ago[1] = None  # found right since
        made = entry(
            NOW - hours * HOUR + (draw(st.sampled_from((0, 0, 0, 0, 5000))) * HOUR if doubts else 0 * HOUR),
            label=f"b{number}",
            repository=repository,
            needs=[*needs, "gone"] if doubts and draw(st.integers(0, 9)) == 0 else needs,
            verified_at=ago[0],
            unsound_at=ago[1],
            held=draw(st.sampled_from(("", "", "", "", "audit"))),
        )
        wrong = "page 7" if doubts and draw(st.integers(0, 9)) == 0 else ""
        found.append(replace(made, stored=replace(made.stored, error=wrong)))
    return found


def kept(entries: Sequence[Entry], retention: Retention, now: datetime = NOW) -> list[Entry]:
    return [each.entry for each in plan_retention(entries, retention, now) if each.keep]


def labels(entries: Sequence[Entry]) -> set[str]:
    return {each.stored.label for each in entries}


@settings(deadline=None, derandomize=True, database=None)
@given(worlds(), RETENTIONS)
def test_every_backup_gets_one_decision_with_a_reason(entries: list[Entry], retention: Retention) -> None:
    found = plan_retention(entries, retention, NOW)
    assert [each.entry for each in found] == entries
    assert all(each.reason for each in found)


@settings(deadline=None, derandomize=True, database=None)
@given(worlds(), RETENTIONS)
def test_what_stays_has_all_that_it_needs(entries: list[Entry], retention: Retention) -> None:
    there, left = labels(entries), labels(kept(entries, retention))
    for each in kept(entries, retention):
        assert set(each.stored.needs) & there <= left


@settings(deadline=None, derandomize=True, database=None)
@given(worlds(), RETENTIONS)
def test_planning_what_is_left_drops_nothing_more(entries: list[Entry], retention: Retention) -> None:
    left = kept(entries, retention)
    assert kept(left, retention) == left


@settings(deadline=None, derandomize=True, database=None)
@given(worlds(), RETENTIONS)
def test_never_fewer_than_the_minimum_stay_in_a_repository(entries: list[Entry], retention: Retention) -> None:
    left = kept(entries, retention)
    for repository in (1, 2):
        before = sum(each.repository == repository for each in entries)
        assert sum(each.repository == repository for each in left) >= min(retention.minimum, before)


@settings(deadline=None, derandomize=True, database=None)
@given(worlds(), RETENTIONS)
def test_proof_never_goes(entries: list[Entry], retention: Retention) -> None:
    """Where one was verified, one that was verified stays; where one is verified still, such a one."""
    left = kept(entries, retention)
    for repository in (1, 2):
        here = [each for each in entries if each.repository == repository and each.stored.ended_at <= NOW]
        stay = [each for each in left if each.repository == repository]
        if any(each.verified_at for each in here):
            assert any(each.verified_at for each in stay)
        sound = [
            each for each in here if each.verified_at and not each.unsound_at and not each.stored.needs
        ]  # one with a base may be in doubt by it
        if sound:
            last = max(sound, key=lambda each: each.stored.ended_at)
            assert any(
                each.verified_at and not each.unsound_at and each.stored.ended_at >= last.stored.ended_at
                for each in stay
            )


@settings(deadline=None, derandomize=True, database=None)
@given(worlds(), RETENTIONS)
def test_held_newest_and_what_comes_from_the_future_stay(entries: list[Entry], retention: Retention) -> None:
    left = labels(kept(entries, retention))
    assert labels([each for each in entries if each.held or each.stored.ended_at > NOW]) <= left
    for repository in (1, 2):
        times = [e.stored.ended_at for e in entries if e.repository == repository and e.stored.ended_at <= NOW]
        newest = [e for e in entries if e.repository == repository and times and e.stored.ended_at == max(times)]
        assert not newest or labels(newest) & left


@settings(deadline=None, derandomize=True, database=None)
@given(worlds(), RETENTIONS, st.randoms(use_true_random=False))
def test_order_of_the_entries_does_not_matter(
    entries: list[Entry], retention: Retention, chance: random.Random
) -> None:
    shuffled = chance.sample(entries, len(entries))
    assert labels(kept(shuffled, retention)) == labels(kept(entries, retention))


@settings(deadline=None, derandomize=True, database=None)
@given(worlds(doubts=False), RETENTIONS, st.integers(0, 100_000))
def test_time_alone_drops_nothing(entries: list[Entry], retention: Retention, hours: int) -> None:
    assert kept(entries, retention, NOW + hours * HOUR) == kept(entries, retention)


@settings(deadline=None, derandomize=True, database=None)
@given(worlds(), RETENTIONS, st.integers(0, 4))
def test_asking_for_more_keeps_no_less(entries: list[Entry], retention: Retention, more: int) -> None:
    asked = Retention(
        hourly=retention.hourly + more,
        daily=retention.daily + more,
        weekly=retention.weekly + more,
        monthly=retention.monthly + more,
        minimum=retention.minimum + more,
    )
    assert labels(kept(entries, retention)) <= labels(kept(entries, asked))


@settings(deadline=None, derandomize=True, database=None)
@given(worlds(), RETENTIONS, st.data())
def test_finding_one_unsound_never_drops_a_sound_one(
    entries: list[Entry], retention: Retention, data: st.DataObject
) -> None:
    """What is found wrong takes no place from others; only what builds on it may lose its own to a better one."""
    if not entries:
        return
    number = data.draw(st.integers(0, len(entries) - 1))
    bad = replace(entries[number], unsound_at=NOW)
    before = labels(kept(entries, retention))
    after = labels(kept([*entries[:number], bad, *entries[number + 1 :]], retention))
    builds = {bad.stored.label}
    for _ in entries:
        builds |= labels([each for each in entries if builds & set(each.stored.needs)])
    needed = {need for each in entries if each.stored.label in builds for need in each.stored.needs}
    for _ in entries:
        needed |= {need for each in entries if each.stored.label in needed for need in each.stored.needs}
    # A newer one may have stood in for it: who is the newest of its period and of the verified ones changes.
    free = [each for each in entries if each.stored.label not in builds | needed and not each.verified_at]
    sound = labels([each for each in free if not each.unsound_at and not each.stored.error and not each.stored.needs])
    assert before & sound <= after


# --- a year of hourly backups


def expected(times: Sequence[datetime], retention: Retention) -> set[datetime]:
    """Return what stays of sound backups that need no other, found in another way: by the last time of each period."""
    keys: Keys = [
        (retention.hourly, lambda at: at.strftime("%Y%m%d%H")),
        (retention.daily, lambda at: at.strftime("%Y%m%d")),
        (retention.weekly, lambda at: at.strftime("%G%V")),
        (retention.monthly, lambda at: at.strftime("%Y%m")),
    ]
    stay = set(sorted(times)[-retention.minimum :])
    for count, key in keys:
        last = {key(at): at for at in sorted(times)}
        stay |= set(sorted(last.values())[-count:]) if count else set()
    return stay


def test_year_of_hourly_backups_day_by_day_leaves_what_the_numbers_say() -> None:
    retention, began = Retention(), datetime(2025, 11, 1, tzinfo=UTC)
    left: list[Entry] = []
    taken: list[datetime] = []
    for day in range(400):
        today = [began + day * DAY + hour * HOUR for hour in range(24)]
        taken += today
        left = kept([*left, *(entry(at) for at in today)], retention, today[-1])
        if day % 20 == 0:
            assert {each.stored.ended_at for each in left} == expected(taken, retention), f"day {day}"
    # 24 hours, 29 more days, 8 more Sundays (one ends on the last day of a month), 9 more ends of months.
    assert len(left) == len(expected(taken, retention)) == 70


def test_half_a_year_of_weekly_chains_keeps_the_base_of_each_one_that_stays() -> None:
    retention, began = Retention(), datetime(2025, 11, 3, tzinfo=UTC)
    left: list[Entry] = []
    full = previous = ""
    for hour in range(24 * 200):
        at = began + hour * HOUR
        if hour % (24 * 7) == 0:
            made, full = entry(at), f"{at:%Y%m%d-%H%M%S}"
        else:
            made = entry(at, needs=sorted({full, previous}))
        previous = made.stored.label
        left.append(made)
        if hour % 48 == 47:
            left = kept(left, retention, at)
            there = labels(left)
            assert all(set(each.stored.needs) <= there for each in left)
    assert {each.stored.ended_at for each in left} >= expected(
        [began + hour * HOUR for hour in range(24 * 200)], retention
    )


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 24 * 120), unique=True, max_size=60), RETENTIONS, st.integers(6, 72))
def test_planning_often_or_once_leaves_the_same(hours: list[int], retention: Retention, step: int) -> None:
    began = NOW - 24 * 120 * HOUR
    often: list[Entry] = []
    for end in range(0, 24 * 120 + step, step):
        now = began + end * HOUR
        often = kept(
            [*often, *(entry(began + h * HOUR) for h in sorted(hours) if end - step < h <= end)], retention, now
        )
    once = kept([entry(began + h * HOUR) for h in hours], retention, began + 24 * 130 * HOUR)
    assert (
        labels(often)
        == labels(once)
        == labels([entry(at) for at in expected([began + h * HOUR for h in hours], retention)])
    )


@pytest.mark.parametrize("missing", ["hourly", "daily", "weekly", "monthly"])
def test_expected_number_notices_a_period_that_is_left_out(missing: str) -> None:
    """The planted fault for the year above."""
    times = [NOW - hours * HOUR for hours in range(24 * 300)]
    wrong = Retention(**{**Retention().model_dump(), missing: 0})
    assert {each.stored.ended_at for each in kept([entry(at) for at in times], wrong)} != expected(times, Retention())
