"""Each rule stops where its bound is broken, and says so with its figures."""

from dataclasses import replace

import pytest

from tasks.common.migrations import HealthLimits
from tasks.migration.health import Measures, Verdict, judge, stops, unmeasured

_WELL = Measures(
    wal_waiting=42,
    vacuuming=(),
    replica_lag_s=30.0,
    latency_ms=5.0,
    disk_free_bytes=10,
    disk_total_bytes=100,
)
_LIMITS = HealthLimits(latency_ms=5.0)


def test_nothing_stops_at_its_bounds() -> None:
    found = judge(_WELL, _LIMITS)
    assert [each.verdict for each in found] == [Verdict.NORMAL] * 5


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ({"wal_waiting": 43}, "WAL archive"),
        ({"vacuuming": ("customer",)}, "autovacuum"),
        ({"replica_lag_s": 30.1}, "replica lag"),
        ({"latency_ms": 5.1}, "foreground latency"),
        ({"disk_free_bytes": 9}, "disk"),
    ],
)
def test_each_rule_stops_alone(broken: dict[str, object], rule: str) -> None:
    (found,) = stops(judge(replace(_WELL, **broken), _LIMITS))  # type: ignore[arg-type]
    assert found.rule == rule and any(char.isdigit() or char == "c" for char in found.why)


def test_what_cannot_be_measured_stops_nothing_and_is_said() -> None:
    found = judge(Measures(), _LIMITS)
    assert {each.verdict for each in found} == {Verdict.NOT_AVAILABLE}
    assert stops(found) == ()
    assert unmeasured(found) == ("WAL archive", "autovacuum", "replica lag", "foreground latency", "disk")


def test_rules_that_are_off_are_not_asked() -> None:
    off = HealthLimits(wal_segments=None, autovacuum=False, replica_lag_s=None, disk_free_percent=None)
    assert judge(Measures(), off) == ()
