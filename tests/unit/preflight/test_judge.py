"""What is well enough for a release to begin, as a table of observations."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.common.capacity import Capacity
from tasks.common.estate import Environment
from tasks.preflight.judge import finding_table, judge_capacity, judge_certificate, judge_routing
from tasks.preflight.model import Certificate, Finding

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FORTNIGHT_S = 14 * 86400.0


@dataclass(frozen=True)
class Seen:
    """One member, as a router sees it."""

    slot: str
    up: bool


@dataclass(frozen=True)
class Shares:
    """What a router does."""

    weights: dict[str, float]
    members: list[Seen] = field(default_factory=list)
    persisted: bool = True


def environment(**more: Any) -> Environment:
    driver = {"driver": "memory"}
    plain = {"url": "http://x", "runtime": driver, "router": driver, "metrics": driver, "replicas": 3}
    return Environment.model_validate({**plain, **more})


def ill(findings: list[Finding]) -> dict[str, str]:
    return {each.name: each.found for each in findings if not each.well}


@pytest.mark.parametrize(
    ("capacity", "wrong"),
    [
        (Capacity(30, 30, 10), {}),
        (Capacity(100, 100, 100), {}),
        (Capacity(29.9, 100, 100), {"here: processors": "29.9 % of the processors is free, less than 30 %"}),
        (Capacity(100, 29.9, 100), {"here: memory": "29.9 % of the memory is free, less than 30 %"}),
        (Capacity(100, 100, 9.9), {"here: disk": "9.9 % of the disk is free, less than 10 %"}),
        (
            Capacity(math.nan, math.inf, -math.inf),
            {
                "here: processors": "an unknown share of the processors is free, less than 30 %",
                "here: memory": "an unknown share of the memory is free, less than 30 %",
                "here: disk": "an unknown share of the disk is free, less than 10 %",
            },
        ),
    ],
)
def test_capacity_is_held_against_its_bounds_and_unknown_is_not_enough(
    capacity: Capacity, wrong: dict[str, str]
) -> None:
    findings = judge_capacity("here", capacity, environment())
    assert ill(findings) == wrong
    assert all(each.mend for each in findings if not each.well)


UP = [Seen("blue", True)] * 3


@pytest.mark.parametrize(
    ("routing", "floor", "wrong"),
    [
        (Shares({}), "100%", {}),
        (Shares({"blue": 0.0, "green": 0.0}), "100%", {}),
        (Shares({"blue": 100.0}, UP), "100%", {}),
        (Shares({"blue": 100.0}, UP, persisted=False), "100%", {"routing is kept"}),
        (Shares({"blue": 100.0}, []), "100%", {"router answers, and stable is healthy"}),
        (Shares({"blue": 100.0}, [Seen("blue", False)] * 3), "100%", {"router answers, and stable is healthy"}),
        (Shares({"blue": 100.0}, [Seen("green", True)] * 3), "100%", {"router answers, and stable is healthy"}),
        (Shares({"blue": 100.0}, UP[:2]), "100%", {"every instance serves"}),
        (Shares({"blue": 100.0}, [*UP[:2], Seen("blue", False)]), "50%", {"every instance serves"}),
        (Shares({"blue": 100.0}, [*UP[:2], Seen("green", True)]), "100%", {"every instance serves"}),
        (Shares({"blue": 60.0, "green": 40.0}, [*UP[:2], Seen("green", True)]), "100%", {}),
        (Shares({"blue": 60.0, "green": 40.0}, UP[:2]), "50%", {}),
        (Shares({"blue": 60.0, "green": 40.0}, UP[:1]), "50%", {"every instance serves"}),
        (Shares({"blue": 60.0, "green": 40.0}, UP[:2], False), "100%", {"every instance serves", "routing is kept"}),
    ],
)
def test_what_has_traffic_must_be_up_in_full_strength_and_kept(routing: Shares, floor: str, wrong: set[str]) -> None:
    findings = judge_routing("here", routing, environment(floor=floor))
    assert ill(findings).keys() == {f"here: {each}" for each in wrong}
    assert all(each.mend for each in findings if not each.well)


@pytest.mark.parametrize(
    ("left", "well"),
    [
        (timedelta(days=90), True),
        (timedelta(days=14), True),
        (timedelta(days=14, seconds=-1), False),
        (timedelta(0), False),
        (timedelta(days=-1), False),
    ],
)
def test_certificate_must_be_valid_for_long_enough(left: timedelta, well: bool) -> None:
    found = judge_certificate("here", Certificate("example.org", NOW + left), NOW, FORTNIGHT_S)
    assert (found.well, bool(found.mend)) == (well, not well)


def test_table_shows_problems_first_and_cannot_be_broken_by_its_texts() -> None:
    lines = finding_table([Finding("a", True, "fine"), Finding("b", False, "x | y\nz", "mend <it>")]).splitlines()
    assert lines[2:] == ["| b | **problem** | x \\| y z | mend &lt;it&gt; |", "| a | well | fine | |"]
