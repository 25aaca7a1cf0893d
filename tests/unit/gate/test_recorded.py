"""The gates that are always there, over what a run has recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from tasks.common.gates import Gate
from tasks.gate.judge import judge
from tasks.gate.model import Wanted
from tasks.gate.recorded import built_in, read_recorded

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WANTED = Wanted(("unit", "api"), 80.0, ("bandit", "secrets"), ("staging", "canary"), ("journey",))


@dataclass(frozen=True)
class Fact:
    kind: str
    name: str
    facts: dict[str, object] = field(default_factory=dict)


def rehearsed(environment: str, **smoke: object) -> list[Fact]:
    return [
        Fact("smoke", f"{environment}: blue 0", {"passed": 2, "failed": []}),
        Fact("smoke", f"{environment}: through the router", {"passed": 2, "failed": [], **smoke}),
        Fact("end-to-end", "journey", {"exit_code": 0}),
        Fact("phase", f"rehearse in {environment}"),
    ]


GOOD = [
    Fact("preflight", "unit", {"ok": True}),
    Fact("test", "unit", {"exit_code": 0}),
    Fact("test", "api", {"exit_code": 0}),
    Fact("coverage", "coverage.json", {"covered_percent": 80.0, "at_least_percent": 80.0}),
    Fact("scan", "bandit", {"blocking": 0}),
    Fact("scan", "secrets", {"blocking": 0}),
    *rehearsed("staging"),
    *rehearsed("canary"),
]


def closed(evidence: Sequence[Fact], wanted: Wanted = WANTED) -> dict[str, str]:
    """Return why which gates are closed."""
    verdicts = [judge(gate, reading, NOW) for gate, reading in built_in(wanted, evidence, NOW)]
    return {verdict.name: verdict.why for verdict in verdicts if not verdict.open}


def without(kind: str, name: str) -> list[Fact]:
    left = [each for each in GOOD if (each.kind, each.name) != (kind, name)]
    assert len(left) < len(GOOD)
    return left


def changed(kind: str, name: str, **facts: object) -> list[Fact]:
    return [replace(each, facts=facts) if (each.kind, each.name) == (kind, name) else each for each in GOOD]


def test_everything_recorded_and_well_opens_all() -> None:
    assert closed(GOOD) == {}


def test_nothing_recorded_closes_all() -> None:
    names = ["all tests pass", "coverage", "scans are clean", "rehearsed in staging", "rehearsed in canary"]
    assert list(closed([])) == names


def test_service_without_coverage_has_no_such_gate() -> None:
    assert "coverage" not in closed([], replace(WANTED, coverage_at_least=None))


def test_gate_that_finds_nothing_to_look_at_is_closed() -> None:
    assert list(closed(GOOD, Wanted((), None, (), (), ()))) == ["all tests pass", "scans are clean"]


@pytest.mark.parametrize(
    ("evidence", "gate", "why"),
    [
        (without("test", "api"), "all tests pass", "test api: nothing is recorded"),
        (changed("test", "api", exit_code=1), "all tests pass", "test api: failed"),
        (changed("test", "api", exit_code=0, error="timed out"), "all tests pass", "test api: failed"),
        (changed("test", "api"), "all tests pass", "test api: failed"),
        (changed("test", "api", exit_code=False), "all tests pass", "test api: failed"),
        (without("coverage", "coverage.json"), "coverage", "no coverage is recorded"),
        (changed("coverage", "coverage.json", covered_percent=79.9), "coverage", "79.9 % is not at least 80 %"),
        (changed("coverage", "coverage.json", covered_percent="99"), "coverage", "no coverage is recorded"),
        (changed("coverage", "coverage.json", covered_percent=float("nan")), "coverage", "is not at least 80 %"),
        (changed("coverage", "coverage.json", covered_percent=float("inf")), "coverage", "the figure is inf"),
        (without("scan", "secrets"), "scans are clean", "scan secrets: nothing is recorded"),
        (changed("scan", "secrets", blocking=1), "scans are clean", "scan secrets: failed"),
        (changed("scan", "secrets", blocking=0, error="crashed"), "scans are clean", "scan secrets: failed"),
        (changed("scan", "secrets"), "scans are clean", "scan secrets: failed"),
        (without("smoke", "staging: through the router"), "rehearsed in staging", "no smoke tests through the router"),
        (without("phase", "rehearse in canary"), "rehearsed in canary", "did not come to its end"),
        (
            changed("smoke", "canary: through the router", passed=1, failed=["GET /"]),
            "rehearsed in canary",
            "smoke tests through the router failed",
        ),
        (
            changed("smoke", "canary: through the router", passed=0, failed=[]),
            "rehearsed in canary",
            "smoke tests through the router failed",
        ),
        (
            changed("smoke", "canary: through the router", passed=2, failed=[], error="lost"),
            "rehearsed in canary",
            "smoke tests through the router failed",
        ),
    ],
)
def test_one_thing_missing_or_failed_closes_its_gate_and_no_other(evidence: list[Fact], gate: str, why: str) -> None:
    found = closed(evidence)
    assert list(found) == [gate]
    assert why in found[gate]


def test_end_to_end_test_of_one_environment_does_not_stand_for_another() -> None:
    journeys = [n for n, each in enumerate(GOOD) if each.kind == "end-to-end"]
    for position, environment in zip(journeys, ("staging", "canary"), strict=True):
        found = closed(GOOD[:position] + GOOD[position + 1 :])
        assert list(found) == [f"rehearsed in {environment}"]
        assert "end-to-end journey: nothing is recorded" in found[f"rehearsed in {environment}"]


def test_of_a_step_that_was_run_twice_the_last_time_counts() -> None:
    failed = Fact("test", "unit", {"exit_code": 1, "error": "failed"})
    assert closed([failed, *GOOD]) == {}
    assert list(closed([*GOOD, failed])) == ["all tests pass"]


def test_two_steps_of_the_same_name_must_both_have_passed() -> None:
    wanted = replace(WANTED, tests=("unit", "unit", "api"))
    assert list(closed(GOOD, wanted)) == ["all tests pass"]
    assert closed([Fact("test", "unit", {"exit_code": 0}), *GOOD], wanted) == {}
    assert list(closed([Fact("test", "unit", {"exit_code": 1}), *GOOD], wanted)) == ["all tests pass"]


def test_gate_of_a_file_over_the_rehearsals_needs_all_environments() -> None:
    gate = Gate(name="staged everywhere", recorded="rehearsal")
    assert judge(gate, read_recorded(gate, WANTED, GOOD, NOW), NOW).open
    assert not judge(gate, read_recorded(gate, WANTED, without("phase", "rehearse in staging"), NOW), NOW).open
