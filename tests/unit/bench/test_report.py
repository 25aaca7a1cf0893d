from deployments.lab.lab import ROOT
from tests.bench.report import Grid, Measured, Section, markdown


def _measured(met: bool | None, name: str = "switches") -> Measured:
    grid = Grid("Requests", ("kind", "failed"), (("a|b", "0"),))
    section = Section(name, name.capitalize(), "Zero failures.", met, ("None failed.",), (grid,), {"failed": 0})
    return Measured(section, f"python -m tests.bench --only {name}", "2026-01-02T00:00:00+00:00", 0.5, "20 min")


def test_page_names_claim_verdict_command_and_machine() -> None:
    text = markdown("", [_measured(True)])
    assert "Measured by `python -m tests.bench --only switches` on 2 January 2026, in 20 min" in text
    assert "cores" in text
    assert "> Zero failures.\n\n**Met.**" in text
    assert "| a\\|b | 0 |" in text


def test_figure_that_is_not_met_is_said_loudly() -> None:
    assert "**NOT met.**" in markdown("", [_measured(False)])


def test_figure_that_was_not_measured_is_never_met() -> None:
    assert "**Not measured.**" in markdown("", [_measured(None)])


def test_page_keeps_what_it_says_of_figures_that_were_not_measured_again() -> None:
    first = markdown("", [_measured(False), _measured(None, "killed")])
    again = markdown(first, [_measured(True)])
    assert again == markdown("", [_measured(True), _measured(None, "killed")])
    assert markdown(again, []) == again


def test_committed_page_is_one_that_can_be_kept() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert _sections(markdown(page, [])) == _sections(page)


def _sections(page: str) -> str:
    return page.partition("\n## ")[2]
