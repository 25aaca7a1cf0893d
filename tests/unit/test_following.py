"""How a command ends after the run that it has started, and what it shows of it."""

from datetime import UTC, datetime

import pytest

from deployments.following import exit_of, give_answer, show_ended, show_steps, why_of
from deployments.runs import Ended
from deployments.terminal import Exit
from tasks.common.errors import Refused

_CRASHED = "Flow run process exited with non-zero status code -9."


def _ended(state: str, message: str = "", *, completed: bool = False) -> Ended:
    return Ended("0123", "a run", state, completed, message)


def test_last_words_of_a_run_are_those_of_its_error_without_what_prefect_says_before_them() -> None:
    failed = _ended("Failed", "Flow run encountered an exception: Refused: Refused: it holds\n  on: main")
    assert why_of(failed) == "Refused: it holds\n  on: main"
    assert why_of(_ended("Crashed", _CRASHED)) == _CRASHED
    assert why_of(_ended("Completed", "All states completed.", completed=True)) == ""


@pytest.mark.parametrize(
    ("why", "code"),
    [
        ("UNSAFE: two sites take writes", Exit.UNSAFE),
        ("Refused (lease lost): another one has it", Exit.REFUSED),
        ("Failed (may be retried): no answer", Exit.NOT_REACHABLE),
        ("Failed (taken back): the old site serves", Exit.ROLLED_BACK),
        ("Failed (brought back): the old state is back", Exit.ROLLED_BACK),
        (_CRASHED, Exit.FAILED),
        ("", Exit.FAILED),
    ],
)
def test_command_ends_as_its_run_has_ended(why: str, code: Exit) -> None:
    assert exit_of(why) is code


def test_end_of_a_run_is_shown_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    show_ended("drill node-lost", _ended("Crashed", _CRASHED), as_json=False)
    assert capsys.readouterr().out == f"\ndrill node-lost: Crashed\n{_CRASHED}\n"


def test_steps_are_numbered_and_remarks_stand_below_them(capsys: pytest.CaptureFixture[str]) -> None:
    show_steps(["fence a", "promote b"], ["nobody knows what is lost"])
    assert capsys.readouterr().out == " 1. fence a\n 2. promote b\n    nobody knows what is lost\n"


@pytest.mark.parametrize(
    ("expires_at", "what"),
    [
        (None, "does not wait for an answer"),
        (datetime(2026, 1, 1, tzinfo=UTC), "the time for an answer is over"),
    ],
)
def test_answer_that_nobody_waits_for_is_refused_with_what_to_do(expires_at: datetime | None, what: str) -> None:
    with pytest.raises(Refused, match=what) as refused:
        give_answer("0123", expires_at, {"decision": "approve"}, "restore of db into main", "restore again")
    assert (refused.value.on, refused.value.next_action) == ("restore of db into main", "restore again")
