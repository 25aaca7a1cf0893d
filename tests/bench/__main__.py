"""Measures what docs/benchmarks.md reports: `make bench`, or `python -m tests.bench --help`."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from deployments.lab.campus_versions import make_repository
from deployments.lab.lab import ROOT, Lab
from tasks.common.errors import SlipwayError
from tasks.common.units import show_duration
from tests.bench.report import Measured, Section, markdown, show, write_json

COUNTS = {
    "cost": ("releases", "again", "past"),
    "fault": ("faults",),
    "switches": ("switches",),
    "killed": ("killed",),
    "push": ("pushes", "compared"),
    "retention": ("backups",),
    "backup": ("scale", "times"),
    "verify": ("scale", "times"),
    "memory": ("scale",),
    "engines": ("scale", "times"),
    "deliveries": ("deliveries",),
    "kills": ("kills", "hours"),
    "leader-loss": ("losses", "crashes"),
    "site-loss": ("site-losses",),
}
"""The figures, in order, and the numbers that each is measured with. The last of the lab's stops the worker."""
LONG = {"kills", "leader-loss", "site-loss"}
"""Measured only where they are asked for: they take hours, or need root and a machine of their own."""
console = Console(highlight=False)


def main() -> int:
    """Every figure is measured, shown and written; returns 0 if each was met."""
    wishes, others_load = _wishes(), os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-"))
    lab = Lab(folder)
    # Ended from outside, as from within: no server is left behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with ExitStack() as servers:
            all_met = _measure_all(lab, wishes, others_load, servers)
    except SlipwayError as error:
        console.print(error.block(), markup=False, style="red")
        return 1
    finally:
        lab.down()
        shutil.rmtree(folder, ignore_errors=True)
    console.print(f"\nall figures: {wishes.json}; in words: {wishes.markdown}", markup=False)
    return 0 if all_met else 1


def _wishes() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="measure what docs/benchmarks.md reports"
    )
    parser.add_argument("--only", choices=COUNTS, action="append", help="this figure only; can be given again")
    parser.add_argument("--switches", type=int, default=100, help="switches, and as many rollbacks")
    parser.add_argument("--killed", type=int, default=20, help="switches whose worker is killed")
    parser.add_argument("--pushes", type=int, default=30, help="pushes, one by one, until the first line of flow code")
    parser.add_argument("--compared", type=int, default=10, help="pushes with each other way to start a run")
    parser.add_argument("--backups", type=int, default=100_000, help="backups of which it is decided which stay")
    parser.add_argument("--scale", type=int, default=68, help="pgbench's scale of what is backed up; 68 is 1 GB")
    parser.add_argument("--times", type=int, default=5, help="backups and restores of each kind, in turn")
    parser.add_argument("--deliveries", type=int, default=500, help="deliveries of webhooks in 10 s")
    parser.add_argument("--kills", type=int, default=20, help="moments of each phase at which each of them is killed")
    parser.add_argument("--hours", type=float, default=6.0, help="no kill begins later")
    parser.add_argument("--losses", type=int, default=20, help="times that the leader's node is lost")
    parser.add_argument("--crashes", type=int, default=10, help="times that the leader's postmaster is killed")
    parser.add_argument("--site-losses", type=int, default=3, help="times that a site is lost, for each way to watch")
    parser.add_argument("--faults", type=int, default=3, help="releases with a fault")
    parser.add_argument("--releases", type=int, default=5, help="releases whose cost is measured")
    parser.add_argument("--again", type=int, default=4, help="releases whose cost is measured with a long past")
    parser.add_argument("--past", type=int, default=10_000, help="releases in that past")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "var" / "bench" / "report.json", help="file for the numbers"
    )
    parser.add_argument("--markdown", type=Path, default=ROOT / "docs" / "benchmarks.md", help="file for the words")
    return parser.parse_args()


def _command(wishes: argparse.Namespace, figure: str) -> str:
    """Return the command that measures a figure again."""
    numbers = [f"--{name} {getattr(wishes, name.replace('-', '_'))}" for name in COUNTS[figure]]
    return " ".join([f"python -m tests.bench --only {figure}", *numbers])


def _measure_all(lab: Lab, wishes: argparse.Namespace, others_load: float, servers: ExitStack) -> bool:
    """Every figure is written as soon as it is measured; returns whether all were met."""
    lab.load_file.parent.mkdir(parents=True, exist_ok=True)
    commits = make_repository(lab.campus_repository)
    say = _Say()
    lab.up(say)
    os.environ.update(lab.environment(), PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL="ERROR")
    # Prefect reads where its server is when it is imported.
    from tests.bench import (
        backup,
        cost,
        deliveries,
        engines,
        fault,
        killed,
        kills,
        leader_loss,
        memory,
        push,
        retention,
        site_loss,
        switches,
        verified,
    )
    from tests.bench.place import Place
    from tests.bench.sources import Sources

    place = Place(lab, commits, say)
    sources = Sources(place, wishes.scale, servers)
    measures: dict[str, tuple[str, Callable[[], Section]]] = {
        "cost": (cost.CLAIM, lambda: cost.measure(place, wishes.releases, wishes.again, wishes.past)),
        "switches": (switches.CLAIM, lambda: switches.measure(place, wishes.switches)),
        "killed": (killed.CLAIM, lambda: killed.measure(place, wishes.killed)),
        "fault": (fault.CLAIM, lambda: fault.measure(place, wishes.faults)),
        "push": (push.CLAIM, lambda: push.measure(place, wishes.pushes, wishes.compared)),
        "retention": (retention.CLAIM, lambda: retention.measure(wishes.backups)),
        "backup": (backup.CLAIM, lambda: backup.measure(place, *sources.large, wishes.times)),
        "verify": (verified.CLAIM, lambda: verified.measure(place, *sources.large, wishes.times)),
        "memory": (memory.CLAIM, lambda: memory.measure(place, sources.both)),
        "engines": (engines.CLAIM, lambda: engines.measure(place, sources.large[0], wishes.times)),
        "deliveries": (deliveries.CLAIM, lambda: deliveries.measure(place, wishes.deliveries)),
        "kills": (kills.CLAIM, lambda: kills.measure(wishes.kills, wishes.hours * 3600.0, say)),
        "leader-loss": (leader_loss.CLAIM, lambda: leader_loss.measure(wishes.losses, wishes.crashes, say)),
        "site-loss": (site_loss.CLAIM, lambda: site_loss.measure(wishes.site_losses, say)),
    }
    figures: dict[str, Measured] = {}
    all_met = True
    for name in [each for each in COUNTS if each in (wishes.only or COUNTS.keys() - LONG)]:
        began_s, began_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        section = _measured(name, *measures[name])
        took = show_duration(time.monotonic() - began_s)
        figures[name] = Measured(section, _command(wishes, name), began_at, others_load, took)
        all_met = all_met and section.met is True
        write_json(wishes.json, figures)
        page = wishes.markdown.read_text(encoding="utf-8") if wishes.markdown.exists() else ""
        wishes.markdown.write_text(markdown(page, figures.values()), encoding="utf-8")
    return all_met


def _measured(name: str, claim: str, measure: Callable[[], Section]) -> Section:
    """Return the figure, which has been shown; one that cannot be measured says why, and stops no other."""
    try:
        section = measure()
    except SlipwayError as error:
        console.print(error.block(), markup=False, style="red")
        section = Section(name, name.capitalize(), claim, None, (error.what,))
    show(console, section)
    return section


class _Say:
    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        console.print(f"{time.monotonic() - self._began:6.0f} s  {text}", markup=False, style="dim")


if __name__ == "__main__":
    raise SystemExit(main())
