"""How a run ended is decided from how it failed, and from whether its environment was turned back."""

from datetime import UTC, datetime

import pytest

from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.lease import LeaseLost
from tasks.release.model import Artifact, Evidence, Outcome
from tasks.release.outcome import built, outcome_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


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


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("turned_back", [False, True])
def test_run_that_lost_its_lease_decides_nothing_any_more(moved: bool, turned_back: bool) -> None:
    assert outcome_of(failed(LeaseLost), moved=moved, turned_back=turned_back) is Outcome.INTERRUPTED


def noted(kind: str, name: str, **facts: object) -> Evidence:
    return Evidence("run-1", kind, name, NOON, facts)


BUILD = noted("build", "3f2c1a9", digest="sha256:ab", size_bytes=12, files=3)


def test_artefact_is_found_again_by_what_was_built_and_published() -> None:
    assert built([BUILD, noted("publish", "sha256:ab")], None) == Artifact("sha256:ab", 12, 3)


@pytest.mark.parametrize(
    "evidence",
    [
        pytest.param([], id="nothing"),
        pytest.param([BUILD], id="not published"),
        pytest.param([BUILD, noted("publish", "sha256:ab", error="disk full")], id="publishing failed"),
        pytest.param([BUILD, noted("publish", "sha256:cd")], id="another was published"),
        pytest.param([noted("build", "3f2c1a9", error="exit code 1")], id="build failed"),
        pytest.param([noted("publish", "sha256:ab")], id="published, and never built"),
    ],
)
def test_artefact_that_was_not_built_and_published_is_none(evidence: list[Evidence]) -> None:
    assert built(evidence, None) is None


def test_artefact_that_was_published_at_the_second_try_is_found() -> None:
    evidence = [BUILD, noted("publish", "sha256:ab", error="away"), noted("publish", "sha256:ab")]
    assert built(evidence, None) == Artifact("sha256:ab", 12, 3)


def test_artefact_of_a_rollback_is_the_one_on_its_record() -> None:
    assert built([BUILD, noted("publish", "sha256:ab")], "sha256:old") == Artifact("sha256:old", 0, 0)
