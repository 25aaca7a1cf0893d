import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.lab.load_report import failure_bound
from tests.bench.traffic import Line, Load, read, turn_back

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def _at(seconds: float) -> datetime:
    return _BEGAN + timedelta(seconds=seconds)


def _line(
    sent_s: float,
    took_s: float = 0.01,
    *,
    release: str = "bad",
    kind: str = "courses",
    error: str = "",
    number: int = 0,
) -> Line:
    return Line(number, kind, release, 500 if error else 200, error, _at(sent_s), _at(sent_s + took_s), 0.0)


def test_request_without_a_line_counts_as_failed() -> None:
    load = Load((_line(0.0), _line(1.0, error="5xx"), _line(2.0)), sent=4)
    assert load.failed == 2
    assert load.failed_at_most == failure_bound(2, 4)
    assert load.by_kind() == {"courses": (3, 1)}


def test_bound_of_no_failure_is_about_three_in_n() -> None:
    assert Load(tuple(_line(n) for n in range(1000)), sent=1000).failed_at_most == pytest.approx(0.003, rel=0.01)


def test_nothing_sent_proves_nothing() -> None:
    assert Load((), sent=0).failed_at_most == 1.0


def test_slow_by_design_is_not_bad() -> None:
    assert not _line(0.0, 2.5, kind="progress").bad
    assert _line(0.0, 2.5).bad


def test_file_is_read_with_the_moment_of_sending(tmp_path: Path) -> None:
    path = tmp_path / "load.jsonl"
    row = {"n": 0, "at": 1.0, "s": 0.5, "late": 0.2, "status": 200, "kind": "courses", "release": "a", "error": ""}
    rows = [{"started_at": _BEGAN.isoformat(), "rate": 200}, row, {"sent": 1}]
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    load = read(path)
    assert (load.sent, load.late_s) == (1, 0.2)
    assert (load.lines[0].sent_at, load.lines[0].answered_at) == (_at(1.2), _at(1.5))


def test_file_of_a_load_run_that_was_killed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "load.jsonl"
    path.write_text(json.dumps({"started_at": _BEGAN.isoformat(), "rate": 200}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="not of a load run that has ended"):
        read(path)


def test_turn_back_is_timed_from_the_fault_to_the_last_answer() -> None:
    lines = [
        _line(0.0),
        _line(1.0, 0.5, error="5xx"),  # The fault shows at 1.5.
        _line(2.0, 2.1, kind="progress"),  # Open at the decision, and finished.
        _line(3.05, 0.02),
        _line(3.10, 2.1, kind="progress"),
        _line(3.2, release="good"),
    ]
    found = turn_back(lines, "bad", decided_at=_at(3.0), shifted_at=_at(3.15), scraped_at=_at(2.2))
    assert found.shown_to_metrics_s == pytest.approx(0.7)
    assert found.shown_to_decision_s == pytest.approx(0.8)
    assert found.fault_to_decision_s == pytest.approx(1.5)
    assert found.decision_to_shift_s == pytest.approx(0.15)
    assert found.decision_to_last_sent_s == pytest.approx(0.1)
    assert found.decision_to_last_answer_s == pytest.approx(0.07)
    assert (found.drained, found.bad, found.served) == (1, 1, 5)


def test_failure_that_names_no_release_is_the_bad_ones() -> None:
    lost = _line(3.5, 10.0, release="", error="timeout")
    found = turn_back([lost], "bad", decided_at=_at(3.0), shifted_at=_at(3.1), scraped_at=None)
    assert found.bad == 1
    assert found.decision_to_last_answer_s == pytest.approx(10.5)
    assert found.shown_to_decision_s is None
