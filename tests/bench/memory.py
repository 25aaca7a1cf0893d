"""Figure 12: the memory of a worker's process while backups are taken and verified, of a small database and a large.

Counted are the flow's process and the Python processes that it starts, such as that of the expectations: what is
Slipway's own. PostgreSQL, pgBackRest and the other programs have memory of their own, by their own settings.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.lab.lab import Lab
from tasks.backup.request import BackupRequest
from tasks.verification.request import VerifyRequest
from tests.bench.plans import ENGINES, PROVEN, Plans
from tests.bench.report import Grid, Section
from tests.bench.source import Source
from tests.support.lab import descendants, processes_of_run

if TYPE_CHECKING:
    from tests.bench.place import Place

CLAIM = (
    "Memory of the worker under 400 MB whatever the size of the database: the flow's process and the Python processes "
    "that it starts, at its peak, while a backup is taken and while one is verified with expectations."
)
_BOUND_BYTES = 400 * 10**6
_ENOUGH_BYTES = 10**9
_EVERY_S = 0.1


@dataclass(frozen=True)
class Peak:
    """The most that was seen at once, in bytes.

    Args:
        resident: of all the processes; pages that several of them share count in each.
        proportional: the same, but each shared page is divided among those that share it.
        flow: of the flow's process alone, resident.
        looks: how often it was looked.
    """

    resident: int = 0
    proportional: int = 0
    flow: int = 0
    looks: int = 0


class Watch:
    """Looks at a run's processes until it is ended.

    Args:
        lab: whose worker runs it.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab, self._ended = lab, threading.Event()
        self._thread: threading.Thread | None = None
        self.peak = Peak()

    def begin(self, run_id: str) -> None:
        """The run is looked at from now on."""
        self._thread = threading.Thread(target=self._look_on, args=(run_id,), daemon=True)
        self._thread.start()

    def end(self) -> Peak:
        """Return what was seen."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        return self.peak

    def _look_on(self, run_id: str) -> None:
        while not self._ended.wait(_EVERY_S):
            # Anew each time: at first only what waits for the flow's process is there.
            for flow in processes_of_run(self._lab, run_id)[:1]:
                self._add([flow, *ours_below(flow)])

    def _add(self, processes: list[int]) -> None:
        resident = sum(bytes_of(pid, "status", "VmRSS") for pid in processes)
        shares = sum(bytes_of(pid, "smaps_rollup", "Pss") for pid in processes)
        peak = self.peak
        self.peak = Peak(
            max(peak.resident, resident),
            max(peak.proportional, shares),
            max(peak.flow, bytes_of(processes[0], "status", "VmHWM")),
            peak.looks + 1,
        )


def ours_below(flow: int) -> list[int]:
    """Return the Python processes that a flow's process has started; not those that are about to become another one."""
    its_own = _command(flow)
    below = {pid: _command(pid) for pid in descendants(flow)}
    return [pid for pid, said in below.items() if b"python" in said.split(b"\0")[0] and said != its_own]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # it ended meanwhile


def bytes_of(pid: int, file: str, name: str) -> int:
    """Return one figure that the kernel has of a process; 0 once it has ended. *Source:* proc(5)."""
    try:
        text = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    line = next((line for line in text.splitlines() if line.startswith(f"{name}:")), "")
    return int(line.split()[1]) * 1024 if line else 0


def measure(place: "Place", sources: Mapping[str, tuple[Source, Plans]]) -> Section:
    """Return the peaks of each flow, for sources by what they are called; the last one is the large one."""
    peaks: dict[str, dict[str, Peak]] = {}
    for size, (_, plans) in sources.items():
        for name in ENGINES:
            place.say(f"memory of a backup: {name}, {size}")
            with _watched(place, peaks.setdefault(f"backup, {name}", {}), size) as watch:
                # Both sizes are plans of the same names: those of the other one are not in this one's repositories.
                asked = BackupRequest(plan=name, estate=str(plans.file), accept_loss=True)
                place.run("backup", asked, watch.begin)
        place.say(f"memory of a verification, {size}")
        with _watched(place, peaks.setdefault("verify-backup, with expectations", {}), size) as watch:
            place.run("verify-backup", VerifyRequest(plan=PROVEN, estate=str(plans.expecting)), watch.begin)
    large = list(sources.values())[-1][0].size_bytes()
    return section(peaks, list(sources), large)


@contextmanager
def _watched(place: "Place", peaks: dict[str, Peak], size: str) -> Iterator[Watch]:
    watch = Watch(place.lab)
    try:
        yield watch
    finally:
        peaks[size] = watch.end()


def section(peaks: dict[str, dict[str, Peak]], sizes: list[str], large_bytes: int) -> Section:
    """Return the figure of what was seen."""
    every = [peak for found in peaks.values() for peak in found.values()]
    seen = all(peak.looks for peak in every)
    most = max(peak.resident for peak in every)
    facts = (
        f"At most {_mb(most)}, of databases of {' and '.join(sizes)}. Pages that the flow's process shares with the "
        "fork server that it comes from count in full; divided among those that share them it is "
        f"{_mb(max(peak.proportional for peak in every))}.",
        f"Looked every {_EVERY_S:g} s; 'the flow alone' is the peak that the kernel keeps of its process. One "
        "expectation fails in every row, so that no evaluation may hold them all.",
    )
    head = ("flow", *(f"{what}, {size}" for size in sizes for what in ("all", "shared divided", "the flow alone")))
    rows = tuple(
        (name, *(_mb(each) for size in sizes for each in _figures(found[size]))) for name, found in peaks.items()
    )
    return Section(
        name="memory",
        title="Memory of the worker",
        claim=CLAIM,
        met=seen and most < _BOUND_BYTES and large_bytes >= _ENOUGH_BYTES,
        facts=facts,
        grids=(Grid("Peaks", head, rows),),
        data={
            "large_bytes": large_bytes,
            "peaks": {
                name: {
                    size: {"resident": each.resident, "proportional": each.proportional, "flow": each.flow}
                    for size, each in found.items()
                }
                for name, found in peaks.items()
            },
        },
    )


def _figures(peak: Peak) -> tuple[int, int, int]:
    return peak.resident, peak.proportional, peak.flow


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
