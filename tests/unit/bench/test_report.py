import json
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.report import Grid, Run, Section, markdown, write_json

_RUN = Run("make bench", datetime(2026, 1, 2, tzinfo=UTC), 0.5, "20 min")


def _section(met: bool | None) -> Section:
    grid = Grid("Requests", ("kind", "failed"), (("a|b", "0"),))
    return Section("switches", "Switches", "Zero failures.", met, ("None failed.",), (grid,), {"failed": 0})


def test_page_names_claim_verdict_command_and_machine() -> None:
    text = markdown([_section(True)], _RUN)
    assert "Written by `make bench`" in text
    assert "cores" in text
    assert "2 January 2026" in text
    assert "> Zero failures.\n\n**Met.**" in text
    assert "| a\\|b | 0 |" in text


def test_figure_that_is_not_met_is_said_loudly() -> None:
    assert "**NOT met.**" in markdown([_section(False)], _RUN)


def test_figure_that_was_not_measured_is_never_met() -> None:
    assert "**Not measured.**" in markdown([_section(None)], _RUN)


def test_numbers_are_kept_by_figure(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "report.json"
    write_json(path, [_section(False)], _RUN)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["switches"] == {"met": False, "failed": 0}
    assert found["measured_at"] == "2026-01-02 00:00:00+00:00"
