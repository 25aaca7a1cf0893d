from datetime import UTC, datetime, timedelta

import pytest

from tests.bench.arithmetic import (
    BETWEEN,
    PARTS,
    START_UP,
    FlowTimes,
    Push,
    ReleaseTimes,
    Spread,
    Task,
    measurably_slower,
    most_expensive,
    parts_of,
    percentile,
    ratios,
)

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def _release(*tasks: Task, commands_s: dict[str, float] | None = None, start_up_s: float = 4.0) -> ReleaseTimes:
    """A release whose flow takes two seconds more than its tasks."""
    started_at = _BEGAN + timedelta(seconds=start_up_s)
    ended_at = started_at + timedelta(seconds=sum(task.took_s for task in tasks) + 2.0)
    return ReleaseTimes("v1", _BEGAN, started_at, ended_at, tasks, commands_s or {})


def test_spread_has_the_median_and_the_ends() -> None:
    assert Spread.of([3.0, 1.0, 10.0, 2.0]) == Spread(2.5, 1.0, 10.0, 4)


def test_ratios_are_of_pairs_so_that_what_slows_both_changes_none() -> None:
    assert ratios([11.0, 22.0, 36.0], [10.0, 20.0, 30.0]) == Spread(1.1, 1.1, 1.2, 3)
    assert ratios([1.0], [2.0]).plain == "0.50 (0.50 to 0.50, n = 1)"


def test_pairs_of_which_one_is_missing_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_shares_of_a_flow_sum_to_all_of_it_and_tell_a_task_from_the_same_one_again() -> None:
    tasks = (Task("in line", 0.5), Task("take", 4.0), Task("in line", 2.0), Task("in line", 1.0))
    times = FlowTimes(_BEGAN, _BEGAN + timedelta(seconds=1), _BEGAN + timedelta(seconds=10), tasks)
    shares = times.shares_s()
    assert (times.start_up_s, times.flow_s) == (1.0, 9.0)
    assert [shares[f"in line{which}"] for which in ("", " (again)", " (again, 2)")] == [0.5, 2.0, 1.0]
    assert shares[BETWEEN] == 1.5
    assert len(shares) == 6
    assert sum(shares.values()) == 10.0
    assert (times.last_s("line"), times.last_s("expire")) == (1.0, 0.0)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (19, 19), (20, 19), (30, 29), (100, 95)])
def test_percentile_has_so_many_of_the_values_at_or_under_it(count: int, expected: int) -> None:
    assert percentile(range(count, 0, -1), 95) == expected


def test_parts_of_a_push_are_in_order_and_make_up_the_whole() -> None:
    push = Push(10.0, 10.25, 10.75, 11.0, 12.0)
    assert push.parts_s == dict(zip(PARTS, (0.25, 0.5, 0.25, 1.0), strict=True))
    assert sum(push.parts_s.values()) == push.total_s == 2.0


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("build 3f2c1a9", "build"),
        ("test: unit-and-integration", "test"),
        ("end-to-end: journey", "end-to-end"),
        ("scan: bandit", "scan"),
        ("publish 1426dd156636", "publish"),
        ("preflight", "preflight"),
        ("production: start green 0-1 (3f2c1a9bbbbb)", "production: start"),
        ("production: shift blue to 5 %", "production: shift"),
        ("production: blue 0: requests and answers", "production: requests and answers"),
        ("staging: through the router: requests and answers", "staging: through the router: requests and answers"),
        ("keep the last 10 releases", "keep the last 10 releases"),
    ],
)
def test_same_step_of_two_releases_has_one_label(name: str, label: str) -> None:
    assert Task(name, 1.0).label == label


@pytest.mark.parametrize(
    ("name", "waited"),
    [
        ("production: watch canary 5 % for 5 s", True),
        ("production: let it settle for 2.0 s", True),
        ("production: await green 0", False),
        ("check out watchful", False),
    ],
)
def test_soaks_and_settling_are_waits_that_were_asked_for(name: str, waited: bool) -> None:
    assert Task(name, 1.0).waited is waited


def test_cost_is_the_whole_without_commands_and_soaks() -> None:
    release = _release(
        Task("test: unit", 10.5),
        Task("production: start blue 0-1 (3f2c1a9)", 1.0),
        Task("production: watch validation for 5 s", 5.25),
        commands_s={"test": 10.0},
    )
    assert release.whole_s == pytest.approx(4.0 + 16.75 + 2.0)
    assert release.cost_s == pytest.approx(4.0 + 0.5 + 1.0 + 2.0)


def test_shares_sum_to_the_cost() -> None:
    release = _release(
        Task("scan: bandit", 1.5),
        Task("scan: secrets", 2.5),
        Task("production: watch validation for 5 s", 5.25),
        Task("production: shift blue to 5 %", 0.25),
        commands_s={"scan": 3.5},
    )
    shares = release.shares_s()
    assert shares["scan"] == pytest.approx(0.5)
    assert shares[BETWEEN] == pytest.approx(2.0)
    assert shares[START_UP] == pytest.approx(4.0)
    assert sum(shares.values()) == pytest.approx(release.cost_s)


def test_most_expensive_step_comes_first_with_how_often_it_is_taken() -> None:
    shift = Task("production: shift blue to 5 %", 3.0)
    found = most_expensive([_release(shift, shift), _release(shift, shift), _release(Task("preflight", 9.0))], count=2)
    assert found == [("production: shift", 6.0, 2), (START_UP, 4.0, 0)]


def test_slower_is_what_lies_above_everything_measured_before() -> None:
    assert measurably_slower([1.0, 1.2, 1.1], [1.3, 1.0, 1.4])
    assert not measurably_slower([1.0, 1.5, 1.1], [1.3, 1.4, 1.2])


def _at(second: float) -> str:
    return f"2026-11-23 12:00:{int(second):02},{round(second % 1 * 1000):03}"


def test_recovery_is_told_apart_by_what_it_was_spent_on() -> None:
    offset_s = datetime.strptime("2026-11-23 12:00:00", "%Y-%m-%d %H:%M:%S").astimezone().timestamp()
    ready = datetime.fromtimestamp(offset_s + 30.8, UTC)
    logs = {
        "a1": [
            f"{_at(9.0)} INFO: no action. I am (a1), the leader with the lock",
            "Traceback (most recent call last):",
        ],
        "a2": [
            f"{_at(2.0)} INFO: promoted self to leader by acquiring session lock",
            f"{_at(30.5)} INFO: promoted self to leader by acquiring session lock",
            f"{ready:%Y-%m-%d %H:%M:%S}.800 UTC [12] LOG:  database system is ready to accept connections",
        ],
    }
    moments = {"injecting": 10.0, "recovered": 31.5}
    found = parts_of(moments, [(1.0, "a1"), (30.9, "a2")], logs, [(3.0, "a2"), (31.2, "a2")], offset_s)
    rounded = {name: None if value is None else round(value, 2) for name, value in found.items()}
    assert rounded == {"lease": 19.0, "lock": 1.5, "promotion": 0.3, "HAProxy": 0.4, "client": 0.3}
    logs["a1"].append(f"{_at(11.0)} INFO: Leader key released")
    found = parts_of(moments, [(1.0, "a1"), (30.9, "a2")], logs, [], offset_s)
    assert found["HAProxy"] is None
    assert (round(found["lease"] or 0, 2), round(found["lock"] or 0, 2)) == (1.0, 19.5)
    assert sum(each for each in found.values() if each is not None) == pytest.approx(21.5)
