import math
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.analysis.judge import Judge, expression, judge, triggers
from tasks.analysis.model import Decision, Sample, Verdict
from tasks.common.model import Check, Unit

NOTHING = (None, math.nan, math.inf, -math.inf)


def sample(candidate: float | None, stable: float | None = None, unit: Unit = Unit.PERCENT, **bound: object) -> Sample:
    check = Check.model_validate({"metric": "error_rate", **bound})
    return Sample(check, unit, candidate, stable, datetime(2025, 1, 1, tzinfo=UTC))


def verdict(*samples: Sample, deadline_passed: bool = False) -> Verdict:
    return judge(samples, deadline_passed=deadline_passed)


def test_checks_that_hold_pass_with_their_figures() -> None:
    assert verdict(sample(0.1, 0.0, at_most="1%"), sample(1.5, unit=Unit.SECONDS, at_most="2s")) == Verdict(
        Decision.PASS, ("error rate 0.1 % <= 1 % (stable 0 %)", "error rate 1.5 s <= 2 s")
    )


@pytest.mark.parametrize("deadline_passed", [False, True])
def test_a_broken_check_rolls_back_and_says_by_how_much(deadline_passed: bool) -> None:
    broken = sample(5.2, 0.0, at_most="2%")
    assert verdict(broken, sample(0.1, at_most="1%"), deadline_passed=deadline_passed) == Verdict(
        Decision.ROLL_BACK, ("error rate 5.2 % > 2 % (stable 0 %)",)
    )


def test_every_broken_check_is_named() -> None:
    found = verdict(
        sample(5.2, at_most="2%"),
        sample(0.85, unit=Unit.SECONDS, at_most="500ms"),
        sample(3, unit=Unit.COUNT, at_least=10),
        sample(None, at_most="1%"),
    )
    assert found.decision is Decision.ROLL_BACK
    assert found.reasons == ("error rate 5.2 % > 2 %", "error rate 850 ms > 500 ms", "error rate 3 < 10")


@pytest.mark.parametrize(
    ("candidate", "bound", "holds"),
    [
        (2.0, {"at_most": "2%"}, True),
        (2.0001, {"at_most": "2%"}, False),
        (2.0, {"at_least": "2%"}, True),
        (1.9999, {"at_least": "2%"}, False),
        (0.0, {"at_most": "0%"}, True),
    ],
)
def test_a_bound_itself_still_holds(candidate: float, bound: dict[str, Any], holds: bool) -> None:
    found = verdict(sample(candidate, **bound))
    assert found.decision is (Decision.PASS if holds else Decision.ROLL_BACK)
    left, right = found.reasons[0].removeprefix("error rate ").split(" % ", 1)
    assert holds or left != right.split()[1], "a broken bound must look broken"


@pytest.mark.parametrize(
    ("candidate", "stable", "bound", "decision"),
    [
        (1.1, 1.0, {"at_most_times_stable": 1.2}, Decision.PASS),
        (1.3, 1.0, {"at_most_times_stable": 1.2}, Decision.ROLL_BACK),
        (0.95, 1.0, {"at_least_times_stable": 0.9}, Decision.PASS),
        (0.85, 1.0, {"at_least_times_stable": 0.9}, Decision.ROLL_BACK),
        (0.0, 0.0, {"at_most_times_stable": 1.1}, Decision.PASS),
        (0.001, 0.0, {"at_most_times_stable": 1.1}, Decision.ROLL_BACK),
        (0.0, 0.0, {"at_least_times_stable": 1.0}, Decision.PASS),
    ],
)
def test_a_relative_check_compares_with_stable_also_when_that_is_zero(
    candidate: float, stable: float, bound: dict[str, Any], decision: Decision
) -> None:
    assert verdict(sample(candidate, stable, **bound)).decision is decision


def test_a_broken_relative_check_shows_both_sides() -> None:
    found = verdict(sample(3.0, 2.0, Unit.SECONDS, at_most_times_stable=1.2))
    assert found.reasons == ("error rate 3 s > 1.2 x stable (2 s)",)


@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize("bound", [{"at_most": "1%"}, {"at_least": "1%"}, {"at_most_times_stable": 1.1}])
def test_no_data_holds_and_rolls_back_when_the_time_is_over(nothing: float | None, bound: dict[str, Any]) -> None:
    silent = sample(nothing, 1.0, **bound)
    fine = sample(0.0, at_most="1%")
    assert verdict(fine, silent) == Verdict(Decision.HOLD, ("no data for error rate of the candidate",))
    late = verdict(fine, silent, deadline_passed=True)
    assert late.decision is Decision.ROLL_BACK
    assert late.reasons == ("no data for error rate of the candidate, and the time to wait for it is over",)


@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize("deadline_passed", [False, True])
def test_a_relative_check_without_a_stable_figure_never_passes(nothing: float | None, deadline_passed: bool) -> None:
    found = verdict(sample(0.0, nothing, at_most_times_stable=1.1), deadline_passed=deadline_passed)
    assert found.decision is (Decision.ROLL_BACK if deadline_passed else Decision.HOLD)
    assert "error rate of the stable" in found.reasons[0]


def test_an_absolute_check_needs_no_stable_figure() -> None:
    assert verdict(sample(0.5, None, at_most="1%")).reasons == ("error rate 0.5 % <= 1 %",)


def test_no_checks_pass_and_the_reason_says_that_there_were_none() -> None:
    assert verdict(deadline_passed=True) == Verdict(Decision.PASS, ("no checks are configured",))


def test_a_bound_in_the_wrong_unit_is_an_error_and_not_a_verdict() -> None:
    with pytest.raises(ValueError, match="percentage"):
        verdict(sample(None, at_most="2s"))


def test_a_trigger_acts_on_a_break() -> None:
    found = triggers([sample(None, at_most="1%"), sample(2.5, 0.0, at_most="2%")])
    assert found == Verdict(Decision.ROLL_BACK, ("error rate 2.5 % > 2 % (stable 0 %)",))


def test_a_trigger_without_data_does_not_act_and_says_so() -> None:
    found = triggers([sample(None, at_most="1%"), sample(0.5, at_most="1%")])
    assert found.decision is Decision.PASS
    assert found.reasons == (
        "no data for error rate of the candidate, which triggers nothing",
        "error rate 0.5 % <= 1 %",
    )
    assert triggers([]).reasons == ("no triggers are configured",)


def test_the_judge_fits_where_another_judge_could_stand() -> None:
    stands_in: Judge = judge
    assert stands_in([], deadline_passed=False).decision is Decision.PASS


FILLED: dict[str, Any] = {
    "service": "campus",
    "environment": "production",
    "slot": "green",
    "release": "3f2c1a9",
    "window_s": 15.0,
}


def test_every_name_of_a_query_is_filled_in() -> None:
    query = 'rate(e{s="$service",env="${environment}",slot="$slot",v="$release",code=~"5..$"}[$window])'
    assert expression(query, **FILLED) == (
        'rate(e{s="campus",env="production",slot="green",v="3f2c1a9",code=~"5..$"}[15s])'
    )


def test_what_is_no_name_is_left_alone() -> None:
    query = 'label_replace(up, "a", "$1", "b", "(.*)$")'
    assert expression(query, **FILLED) == query


@pytest.mark.parametrize("query", ["$versoin", "rate(x[$windows])", "${slots}", "$Release"])
def test_an_unknown_name_is_refused_and_the_known_ones_are_listed(query: str) -> None:
    with pytest.raises(ValueError, match=r"unknown name .* known: \$service"):
        expression(query, **FILLED)


@pytest.mark.parametrize(("window_s", "text"), [(0.5, "500ms"), (1.5, "1500ms"), (60.0, "60s"), (4.0004, "4s")])
def test_a_window_is_written_as_the_query_language_reads_it(window_s: float, text: str) -> None:
    assert expression("[$window]", **{**FILLED, "window_s": window_s}) == f"[{text}]"


@pytest.mark.parametrize("window_s", [0.0, -1.0, 0.0001])
def test_a_window_of_nothing_is_refused(window_s: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        expression("[$window]", **{**FILLED, "window_s": window_s})


@pytest.mark.parametrize("release", ['v1"} or vector(0) #', "v1'", "v\\1", "", "a\nb"])
def test_a_value_that_would_change_the_query_is_refused(release: str) -> None:
    with pytest.raises(ValueError, match="cannot be filled"):
        expression('{v="$release"}', **{**FILLED, "release": release})
