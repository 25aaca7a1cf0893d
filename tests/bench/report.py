"""What was measured, as tables on the terminal, as JSON and as docs/benchmarks.md."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

_INTRODUCTION = """\
# Benchmarks

Written by `{command}`; edit `tests/bench`, not this file. Everything is measured on a lab of its own, started for this
run on one machine: PostgreSQL, HAProxy, Prometheus, the Prefect server and a worker, two instances of campus, and the
load generator share its cores. Figures from a machine that has them for itself are better; those of two runs differ.

{machine}. Measured on {date}, in {took}; before it began, {waiting:.1f} processes were running or waiting for a core
(load average of a minute): work that is not the benchmark's own.
"""


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
class Run:
    """One run of the benchmarks.

    Args:
        command: what measures the same again.
        measured_at: when it began; aware.
        others_load: the machine's load average of a minute before it began.
        took: how long it took, in words.
    """

    command: str
    measured_at: datetime
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


def write_json(path: Path, sections: Sequence[Section], run: Run) -> None:
    """The file holds every section's numbers. *Idempotent:* yes; what was there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {section.name: {"met": section.met, **section.data} for section in sections}
    report = {**asdict(run), "machine": machine(), **found}
    path.write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")


def markdown(sections: Sequence[Section], run: Run) -> str:
    """Return docs/benchmarks.md."""
    parts = [
        _INTRODUCTION.format(
            command=run.command,
            machine=machine(),
            date=f"{run.measured_at:%-d %B %Y}",
            took=run.took,
            waiting=run.others_load,
        )
    ]
    for section in sections:
        parts.append(
            f"## {section.title}\n\n> {section.claim}\n\n**{section.verdict[0].upper()}{section.verdict[1:]}.**\n"
        )
        parts += [f"{fact}\n" for fact in section.facts]
        parts += [_markdown(grid) for grid in section.grids]
    return "\n".join(parts)


def _markdown(grid: Grid) -> str:
    rows = [grid.head, tuple("---" for _ in grid.head), *grid.rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([f"{grid.title}:\n", *lines]) + "\n"
