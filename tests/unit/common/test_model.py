"""Bounds of checks, and what is built without a file."""

import pytest
from pydantic import ValidationError

from tasks.common.model import BOUNDS, Check, Command, DriverSpec, HttpCheck, Problem, Target, Unit, near, refuse
from tasks.common.service import Canary, ServiceFile
from tasks.common.units import Expected


@pytest.mark.parametrize(
    ("bound", "unit", "value"),
    [
        ({"at_most": "0.1%"}, Unit.PERCENT, 0.1),
        ({"at_least": "99.9%"}, Unit.PERCENT, 99.9),
        ({"at_most": "2s"}, Unit.SECONDS, 2.0),
        ({"at_most": "250ms"}, Unit.SECONDS, 0.25),
        ({"at_most": 10}, Unit.COUNT, 10.0),
        ({"at_most": 0}, Unit.COUNT, 0.0),
        ({"at_least": 0}, Unit.COUNT, 0.0),
        ({"at_most_times_stable": 1.1}, Unit.PERCENT, 1.1),
        ({"at_least_times_stable": 0.9}, Unit.COUNT, 0.9),
    ],
)
def test_bound_is_a_number_in_the_unit_of_the_metric(bound: dict[str, object], unit: Unit, value: float) -> None:
    assert Check.model_validate({"metric": "errors", **bound}).bound(unit) == value


@pytest.mark.parametrize(
    ("written", "unit", "expected"),
    [
        (1, Unit.PERCENT, "a percentage"),
        ("1s", Unit.PERCENT, "a percentage"),
        (2, Unit.SECONDS, "a duration"),
        ("2%", Unit.SECONDS, "a duration"),
        ("10", Unit.COUNT, "a plain number"),
        ("10%", Unit.COUNT, "a plain number"),
    ],
)
@pytest.mark.parametrize("side", ["at_most", "at_least"])
def test_bound_in_another_unit_is_refused(side: str, written: object, unit: Unit, expected: str) -> None:
    check = Check.model_validate({"metric": "errors", side: written})
    with pytest.raises(Expected, match=f"expected {expected}"):
        check.bound(unit)


def test_check_without_a_bound_or_with_two_is_refused() -> None:
    with pytest.raises(ValidationError, match="found a check without a bound; expected exactly one of"):
        Check(metric="errors")
    with pytest.raises(ValidationError, match="found at_most and at_least_times_stable; expected exactly one of"):
        Check(metric="errors", at_most="1%", at_least_times_stable=1)


@pytest.mark.parametrize("bound", BOUNDS[2:])
@pytest.mark.parametrize("factor", [0, -1])
def test_factor_must_be_above_zero(bound: str, factor: float) -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        Check.model_validate({"metric": "errors", bound: factor})


def test_problems_are_errors_at_their_own_places_inside_the_whole() -> None:
    check = {"metric": "errors", "at_most": "1%"}
    stages = [{"weight": weight, "soak": "1m", "checks": [check]} for weight in ("5%", "5%", "50%")]
    with pytest.raises(ValidationError) as caught:
        Canary.model_validate({"strategy": "canary", "stages": stages})
    assert [error["loc"] for error in caught.value.errors()] == [("stages", 1, "weight"), ("stages", 2, "weight")]
    with pytest.raises(ValidationError) as caught:
        ServiceFile.model_validate({"promotion": {"strategy": "canary", "stages": stages}})
    assert ("promotion", "canary", "stages", 1, "weight") in {error["loc"] for error in caught.value.errors()}


def test_braces_in_a_problem_are_kept() -> None:
    with pytest.raises(ValidationError, match=r"found no '\{output\}'; expected \{expected\}"):
        refuse("Scan", [Problem((), "no '{output}'", "{expected}")])
    refuse("Scan", [])


def test_models_can_be_built_by_the_names_that_code_uses() -> None:
    by_name = Command(name="unit", command=["make"], timeout_s="5m")  # type: ignore[arg-type]
    assert by_name == Command.model_validate({"name": "unit", "command": ["make"], "timeout": "5m"})
    assert by_name.timeout_s == 300


def test_http_check_is_called_by_its_name_or_by_its_request() -> None:
    assert HttpCheck(path="/x", expect=200).label == "GET /x"
    assert HttpCheck(name="it works", path="/x", expect=200).label == "it works"


def test_driver_s_settings_are_everything_but_its_name() -> None:
    assert DriverSpec.model_validate({"driver": "s3", "bucket": "b"}).settings == {"bucket": "b"}


def test_target_reads_as_a_sentence() -> None:
    assert str(Target("campus", "production", "lab")) == "campus in production of lab"


@pytest.mark.parametrize(
    ("word", "guess"), [("biuld", "build"), ("BUILD", "build"), ("timeout_s", "timeout"), ("xyz", None), ("", None)]
)
def test_only_a_word_that_is_much_like_a_known_one_is_guessed(word: str, guess: str | None) -> None:
    assert near(word, ["build", "timeout", "run"]) == (f" (did you mean {guess!r}?)" if guess else "")
