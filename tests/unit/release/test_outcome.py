"""How a run ended is decided from how it failed, and from whether its environment was turned back."""

import pytest

from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.release.model import Outcome
from tasks.release.outcome import outcome_of


def failed(meaning: type[SlipwayError]) -> SlipwayError:
    return meaning("it broke", on="campus", next_action="mend it")


ERRORS = [
    pytest.param(failed(Refused), id="refused"),
    pytest.param(failed(Retryable), id="retryable"),
    pytest.param(RuntimeError("a bug"), id="bug"),
    pytest.param(KeyboardInterrupt(), id="cancelled"),
    pytest.param(SystemExit(1), id="exit"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_run_that_ended_before_production_was_touched_has_failed(error: BaseException) -> None:
    assert outcome_of(error, moved=False, turned_back=False) is Outcome.FAILED


@pytest.mark.parametrize("error", ERRORS)
def test_run_whose_environment_was_turned_back_is_rolled_back(error: BaseException) -> None:
    assert outcome_of(error, moved=True, turned_back=True) is Outcome.ROLLED_BACK


@pytest.mark.parametrize("error", ERRORS)
def test_run_that_moved_traffic_and_was_not_turned_back_needs_a_person(error: BaseException) -> None:
    assert outcome_of(error, moved=True, turned_back=False) is Outcome.UNSAFE


@pytest.mark.parametrize("turned_back", [False, True])
def test_state_that_is_not_known_to_be_good_needs_a_person_whatever_was_turned_back(turned_back: bool) -> None:
    assert outcome_of(failed(Unsafe), moved=turned_back, turned_back=turned_back) is Outcome.UNSAFE
