from pathlib import Path

from tests.bench.report import Grid, Measured, Section, kept, markdown, write_json


def _measured(met: bool | None, name: str = "switches") -> Measured:
    grid = Grid("Requests", ("kind", "failed"), (("a|b", "0"),))
    section = Section(name, "Switches", "Zero failures.", met, ("None failed.",), (grid,), {"failed": 0})
    return Measured(section, f"python -m tests.bench --only {name}", "2026-01-02T00:00:00+00:00", 0.5, "20 min")


def test_page_names_claim_verdict_command_and_machine() -> None:
    text = markdown([_measured(True)])
    assert "Measured by `python -m tests.bench --only switches` on 2 January 2026, in 20 min" in text
    assert "cores" in text
    assert "> Zero failures.\n\n**Met.**" in text
    assert "| a\\|b | 0 |" in text


def test_figure_that_is_not_met_is_said_loudly() -> None:
    assert "**NOT met.**" in markdown([_measured(False)])


def test_figure_that_was_not_measured_is_never_met() -> None:
    assert "**Not measured.**" in markdown([_measured(None)])


def test_figures_of_earlier_runs_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "report.json"
    assert kept(path) == {}
    figures = {"switches": _measured(False), "killed": _measured(None, "killed")}
    write_json(path, figures)
    assert kept(path) == figures
