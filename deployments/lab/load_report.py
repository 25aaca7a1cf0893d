"""What users got during each phase of a load run: read from the file that `deployments.lab.load` writes."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from deployments.lab.load import MIX

NO_RELEASE = "none"
"""Stands for the release where no answer named one: nobody answered, or not the application."""

_TAKES_S = {kind.name: kind.takes_s for kind in MIX}


@dataclass(frozen=True)
class Phase:
    """A stretch of a run: from its start up to, and without, its end. Both aware."""

    name: str
    start_at: datetime
    end_at: datetime


@dataclass(frozen=True)
class Served:
    """What one release answered.

    Args:
        bad: failed or slow.
        first_bad_at: when the first bad answer was complete, or given up on.
        last_bad_at: the same of the last one.
    """

    answered: int = 0
    failed: int = 0
    bad: int = 0
    first_bad_at: datetime | None = None
    last_bad_at: datetime | None = None


@dataclass(frozen=True)
class PhaseReport:
    """What users got in one phase. Requests belong to the phase that they were scheduled in.

    Args:
        scheduled: requests that the schedule puts into the phase.
        answered: those with a line in the file, failed ones included.
        failed: those that did not get the whole, expected answer in time.
        unaccounted: scheduled without a line: still open, or the generator was killed. Never to be taken as served.
        failures: number by kind of request and kind of failure, 'enrol: 5xx'.
        by_release: figures by release, NO_RELEASE where no answer named one.
        p95_s: 95th percentile of the time from the scheduled moment, without what a kind takes by design.
        slowest_s: the largest of the same.
        late_s: how long after its moment a request was sent, at worst; large means the generator was too slow.
        failed_at_most_percent: upper 95 % bound of the failure probability; unaccounted requests count as failed.
    """

    name: str
    scheduled: int
    answered: int
    failed: int
    unaccounted: int
    failures: Mapping[str, int]
    by_release: Mapping[str, Served]
    p95_s: float | None
    slowest_s: float | None
    late_s: float
    failed_at_most_percent: float


def summarise(path: Path, phases: Sequence[Phase], *, slow_s: float = 2.0) -> tuple[PhaseReport, ...]:
    """Return one report a phase, in the order given. The file may still be being written.

    Args:
        path: the file.
        phases: may overlap.
        slow_s: an answer that took longer, beyond what its kind takes by design, is bad.

    Raises:
        ValueError: the file does not start with the line about the start.
    """
    lines = _lines(path)
    head = next(lines, {})
    if "started_at" not in head:
        raise ValueError(f"{path} does not start with the line that the load generator writes first")
    start_at, rate = datetime.fromisoformat(head["started_at"]), float(head["rate"])
    tallies = [_Tally(phase, start_at, rate, slow_s) for phase in phases]
    sent: int | None = None
    for line in lines:
        if "sent" in line:
            sent = line["sent"]
            continue
        for tally in tallies:
            tally.add(line)
    return tuple(tally.report(sent) for tally in tallies)


def failure_bound(failed: int, total: int, *, confidence: float = 0.95) -> float:
    """Return the largest failure probability that the counts leave possible (one-sided), from 0 to 1.

    No failure among n gives about 3/n.

    *Source:* C. J. Clopper, E. S. Pearson, Biometrika 26 (1934) 404; rule of three: J. A. Hanley, A. Lippman-Hand,
    JAMA 249 (1983) 1743.
    """
    if failed >= total:
        return 1.0
    low, high = failed / total, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(failed, total, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(failed: int, total: int, probability: float) -> float:
    """Return the chance of so many failures or fewer: the binomial distribution function."""
    if not 0 < probability < 1:
        return 1.0 if probability <= 0 else 0.0
    log_odds = math.log(probability) - math.log1p(-probability)
    log_term = total * math.log1p(-probability)
    terms = []
    for count in range(failed + 1):
        terms.append(log_term)
        log_term += log_odds + math.log((total - count) / (count + 1))
    largest = max(terms)
    return math.exp(largest) * math.fsum(math.exp(term - largest) for term in terms)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            # The last line of a file that is being written to may be half a line.
            if line.endswith("\n"):
                yield json.loads(line)


@dataclass
class _Release:
    answered: int = 0
    failed: int = 0
    bad_s: list[float] = field(default_factory=list)


class _Tally:
    """Counts the lines of one phase."""

    def __init__(self, phase: Phase, start_at: datetime, rate: float, slow_s: float) -> None:
        self._phase = phase
        self._start_at = start_at
        self._slow_s = slow_s
        # The same expression as the generator's schedule, number by number: no request falls between two phases.
        self._first = max(0, math.ceil((phase.start_at - start_at).total_seconds() * rate))
        self._end = max(0, math.ceil((phase.end_at - start_at).total_seconds() * rate))
        self._failures: Counter[str] = Counter()
        self._releases: dict[str, _Release] = {}
        self._durations_s: list[float] = []
        self._late_s = 0.0

    def add(self, line: Mapping[str, Any]) -> None:
        """The line is counted if it belongs to the phase."""
        if not self._first <= line["n"] < self._end:
            return
        release = self._releases.setdefault(line["release"] or NO_RELEASE, _Release())
        release.answered += 1
        took_s = line["s"] - _TAKES_S.get(line["kind"], 0.0)
        self._durations_s.append(max(0.0, took_s))
        self._late_s = max(self._late_s, line["late"])
        if line["error"]:
            release.failed += 1
            self._failures[f"{line['kind']}: {line['error']}"] += 1
        if line["error"] or took_s > self._slow_s:
            release.bad_s.append(line["at"] + line["s"])

    def report(self, sent: int | None) -> PhaseReport:
        """Return the figures. `sent` is how many the generator sent in all; None if it has not said so."""
        end = self._end if sent is None else min(self._end, sent)
        scheduled = max(0, end - self._first)
        answered = sum(release.answered for release in self._releases.values())
        failed = self._failures.total()
        slowest = sorted(self._durations_s)
        return PhaseReport(
            name=self._phase.name,
            scheduled=scheduled,
            answered=answered,
            failed=failed,
            unaccounted=scheduled - answered,
            failures=dict(self._failures.most_common()),
            by_release={name: self._served(release) for name, release in sorted(self._releases.items())},
            p95_s=slowest[math.ceil(0.95 * len(slowest)) - 1] if slowest else None,
            slowest_s=slowest[-1] if slowest else None,
            late_s=self._late_s,
            failed_at_most_percent=100 * failure_bound(failed + scheduled - answered, scheduled),
        )

    def _served(self, release: _Release) -> Served:
        moments = [self._start_at + timedelta(seconds=offset_s) for offset_s in release.bad_s]
        first, last = (min(moments), max(moments)) if moments else (None, None)
        return Served(release.answered, release.failed, len(moments), first, last)
