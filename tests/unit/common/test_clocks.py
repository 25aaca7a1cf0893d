"""Two clocks are compared by one question and its answer."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.clocks import ahead_s, apart

ASKED = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANSWERED = ASKED + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("source_at", "ahead"),
    [
        (ASKED, 0.0),
        (ASKED + timedelta(seconds=20), 0.0),
        (ANSWERED, 0.0),
        (ASKED - timedelta(hours=5), 5 * 3600.0),
        (ANSWERED + timedelta(hours=5), -5 * 3600.0),
    ],
)
def test_what_the_answer_took_is_nobodys_fault(source_at: datetime, ahead: float) -> None:
    assert ahead_s(ASKED, source_at, ANSWERED) == ahead


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (0.0, ""),
        (60.0, ""),
        (-60.0, ""),
        (61.0, "the worker's clock is 1 min 1 s ahead of the source's"),
        (-7200.0, "the worker's clock is 2 h behind the source's"),
    ],
)
def test_clocks_that_are_apart_are_told_by_how_much(ahead: float, said: str) -> None:
    assert apart(ahead) == said
