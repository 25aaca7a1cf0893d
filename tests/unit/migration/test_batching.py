"""Batches are sized as GitLab's optimizer does it, with its own figures."""

import pytest

from tasks.migration.batching import LEAST, MOST, NEWEST, Sample, after_timeout, next_size, smoothed_efficiency


def _batches(*seconds: float, over: int = 1000, changed: int = 1000) -> list[Sample]:
    return [Sample(each, over, changed) for each in seconds]


def test_nothing_changes_until_there_are_twenty_batches() -> None:
    few = _batches(*[0.01] * (NEWEST - 1))
    assert smoothed_efficiency(few, 1.0) is None
    assert next_size(1000, few, 1.0) == 1000
    assert next_size(1000, [*few, few[0]], 1.0) == 1200


@pytest.mark.parametrize(
    ("efficiency", "size", "expected"),
    [
        (0.90, 10_000, 10_000),
        (0.92, 10_000, 10_000),
        (0.95, 10_000, 10_000),
        (0.89, 10_000, 10_674),  # 0.95 / 0.89
        (0.50, 10_000, 12_000),  # not more than a fifth at a time
        (0.10, 10_000, 12_000),
        (1.00, 10_000, 9_500),
        (1.90, 10_000, 5_000),
        (9.50, 10_000, LEAST),  # shrinks without a bound, but for the floor
        (95.0, 10_000, LEAST),
        (0.10, MOST, MOST),
        (0.10, 1_900_000, MOST),
    ],
)
def test_size_follows_the_share_of_the_interval_that_batches_take(efficiency: float, size: int, expected: int) -> None:
    assert next_size(size, _batches(*[efficiency] * NEWEST), 1.0) == expected


def test_newer_batches_weigh_more_each_older_one_six_tenths_of_the_next() -> None:
    seconds = [1.0, *[0.5] * (NEWEST - 1)]
    weights = [0.6**age for age in range(NEWEST)]
    expected = round(sum(w * s for w, s in zip(weights, seconds, strict=True)) / sum(weights), 2)
    assert smoothed_efficiency(_batches(*seconds), 1.0) == expected == 0.7


def test_only_the_newest_twenty_count() -> None:
    assert smoothed_efficiency(_batches(*[0.92] * NEWEST, *[100.0] * 50), 1.0) == 0.92


def test_bound_of_a_migration_lowers_the_floor_as_well() -> None:
    quick = _batches(*[0.01] * NEWEST)
    assert next_size(90, quick, 1.0, most=100) == 100
    slow = _batches(*[50.0] * NEWEST)
    assert next_size(100, slow, 1.0, most=100) == 100


def test_batches_that_began_below_the_smallest_size_grow_and_do_not_jump() -> None:
    assert next_size(10, _batches(*[0.01] * NEWEST), 1.0) == 12


def test_batches_that_found_nothing_to_change_do_not_make_sizes_explode() -> None:
    sparse = _batches(*[0.001] * 15, changed=0) + _batches(*[0.92] * 5)
    assert next_size(10_000, sparse, 1.0) == 10_000
    assert next_size(10_000, _batches(*[0.001] * NEWEST, changed=0), 1.0) == 10_000
    mixed = _batches(*[0.001] * 10, changed=10) + _batches(*[1.9] * 10)
    assert smoothed_efficiency(mixed, 1.0) == pytest.approx(0.72, abs=0.01)


def test_batch_that_took_too_long_is_a_quarter_smaller_and_never_empty() -> None:
    assert after_timeout(1000) == 750
    assert after_timeout(1) == 1
