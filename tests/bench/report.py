"""What was measured, as tables on the terminal, as JSON and as docs/benchmarks.md."""

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

_INTRODUCTION = """\
# Benchmarks

Written by `make bench`; edit `tests/bench`, not this file. Everything is measured on a lab of its own, started for a
run on one machine: PostgreSQL, HAProxy, Prometheus, the Prefect server and a worker, two instances of campus, and the
load generator share its cores. Figures from a machine that has them for itself are better; those of two runs differ.

{machine}. Below each figure stands the command that measures it again, and how many processes were running or waiting
for a core before it began (load average of a minute): work that is not the benchmark's own.
"""
_HEADING = re.compile(r"^## (.+)\n", re.MULTILINE)


@dataclass(frozen=True)
class Grid:
    """A table: its title, the heads of its columns, its rows."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """One figure of the report.

    Args:
        name: in report.json.
        title: heading.
        claim: what was to be shown.
        met: whether it was; None where it could not be measured.
        facts: sentences.
        grids: tables.
        data: the same in numbers.
    """

    name: str
    title: str
    claim: str
    met: bool | None
    facts: tuple[str, ...]
    grids: tuple[Grid, ...] = ()
    data: dict[str, object] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Return 'met', 'NOT met' or 'not measured'."""
        return {True: "met", False: "NOT met", None: "not measured"}[self.met]


@dataclass(frozen=True)
class Measured:
    """One figure, and how it was measured.

    Args:
        section: the figure.
        command: what measures the same again.
        measured_at: when it began, ISO 8601 with its zone.
        others_load: the machine's load average of a minute before the run began.
        took: how long it took, in words.
    """

    section: Section
    command: str
    measured_at: str
    others_load: float
    took: str


def machine() -> str:
    """Return what the machine has, without its name: '2 cores, 23 GiB of memory, Linux x86_64, Python 3.11.2'."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB of memory, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    )


def show(console: Console, section: Section) -> None:
    """The section is on the terminal."""
    style = "green" if section.met else "bold red"
    console.print(f"\n[bold]{section.title}[/bold]: [{style}]{section.verdict}[/{style}]")
    console.print(section.claim, style="dim", markup=False)
    for fact in section.facts:
        console.print(fact, markup=False)
    for grid in section.grids:
        table = Table(*grid.head, title=grid.title, title_justify="left")
        for row in grid.rows:
            table.add_row(*row)
        console.print(table)


def write_json(path: Path, figures: Mapping[str, Measured]) -> None:
    """The file holds the figures' numbers. *Idempotent:* yes; what was there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "figures": {name: asdict(each) for name, each in figures.items()}}
    path.write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")


def markdown(page: str, figures: Iterable[Measured]) -> str:
    """Return docs/benchmarks.md with these figures.

    What it says of others stays, as they are measured on different days; a figure that it does not have comes last.

    Args:
        page: as it was; '' where there is none.
        figures: each takes the place of what the page says under its title.
    """
    _, *parts = _HEADING.split(page)
    sections = dict(zip(parts[::2], (text.strip() for text in parts[1::2]), strict=True))
    sections |= {each.section.title: _words(each) for each in figures}
    return "\n".join(
        [_INTRODUCTION.format(machine=machine()), *(f"## {title}\n\n{text}\n" for title, text in sections.items())]
    )


def _words(measured: Measured) -> str:
    section, day = measured.section, datetime.fromisoformat(measured.measured_at)
    return "\n".join(
        [
            f"> {section.claim}\n\n**{section.verdict[0].upper()}{section.verdict[1:]}.**\n",
            *(f"{fact}\n" for fact in section.facts),
            *(_markdown(grid) for grid in section.grids),
            f"Measured by `{measured.command}` on {day:%-d %B %Y}, in {measured.took}; load before: "
            f"{measured.others_load:.1f}.",
        ]
    )


def _markdown(grid: Grid) -> str:
    rows = [grid.head, tuple("---" for _ in grid.head), *grid.rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([f"{grid.title}:\n", *lines]) + "\n"
