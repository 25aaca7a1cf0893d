"""Figure 3: what orchestration costs, and whether a long past makes it dearer."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.arithmetic import ReleaseTimes, Spread, measurably_slower, most_expensive
from tests.bench.history import add_past, reads
from tests.bench.place import Place
from tests.bench.report import Grid, Section

CLAIM = (
    "Orchestration cost: the time of a release minus the time of the commands it runs (build, test, scan, soak), "
    "median of 5. Aim under 15 s for 25 steps on 2 cores; 10,000 releases in the ledger do not slow it measurably."
)
AIM_S = 15.0
AIM_STEPS = 25
_READS = 20
_ENOUGH = 2
_ORDER = ("v2", "v1")
_MADE_OF = {"v1": "v1, blue-green", "v2": "v2, canary in 5 stages"}


@dataclass(frozen=True)
class _Half:
    """Releases before or after the ledger got its past."""

    releases: tuple[ReleaseTimes, ...]
    reads_s: tuple[float, ...]

    def of(self, version: str) -> list[ReleaseTimes]:
        return [release for release in self.releases if release.version == version]


def measure(place: Place, count: int, again: int, past: int) -> Section:
    """Return what `count` releases cost, and `again` more with `past` releases in the ledger."""
    place.have("v1")
    before = _half(place, count)
    place.say(f"{past} releases are added to the ledger")
    model = place.estate.ledger.succeeded("campus", "production", 1)[0]
    rows, size = add_past(place.lab.secret("ledger-dsn"), model, past)
    after = _half(place, again)
    return _section(before, after, f"{past:,} releases with {rows:,} rows of evidence, {size / 2**20:.0f} MiB")


def _half(place: Place, count: int) -> _Half:
    found = []
    for number in range(count):
        version = _ORDER[0] if place.stable != _ORDER[0] else _ORDER[1]
        place.say(f"{version} is released, {number + 1} of {count}")
        record = place.release(version)
        found.append(place.times(version, record))
    reads_s = []
    for _ in range(_READS):
        began = time.monotonic()
        reads(place.estate, record)
        reads_s.append(time.monotonic() - began)
    return _Half(tuple(found), tuple(reads_s))


def _section(before: _Half, after: _Half, past: str) -> Section:
    cost = Spread.of(release.cost_s for release in before.releases)
    # Every step more is dearer: the aim is for 25, and a release that takes twice as many steps is given twice as long.
    for_25 = Spread.of(_for_steps(release) for release in before.releases)
    slower = _slower(before, after)
    steps = statistics.median(len(release.tasks) for release in before.releases)
    facts = (
        f"Cost: {cost}, for {steps:.0f} tasks in the median; for {AIM_STEPS} steps: {for_25}. The start-up of the "
        "run's own process and the starts of campus's instances are in it. Load of 200 requests/s shares the cores.",
        f"With {past} in the ledger: {'measurably slower' if slower else 'not measurably slower'}. That is said when "
        "the medians of both versions, without the start-up, and of the reads that a release makes are above all "
        f"that was measured before, or when a version was released fewer than {_ENOUGH} times before or after.",
    )
    return Section(
        name="cost",
        title="Orchestration cost",
        claim=CLAIM,
        met=for_25.median < AIM_S and not slower,
        facts=facts,
        grids=(_releases_grid(before, after), _steps_grid(before.releases), _past_grid(before, after)),
        data={
            "cost_s": [release.cost_s for release in before.releases],
            "cost_for_25_steps_s": [_for_steps(release) for release in before.releases],
            "cost_with_past_s": [release.cost_s for release in after.releases],
            "steps": [len(release.tasks) for release in before.releases],
            "reads_s": before.reads_s,
            "reads_with_past_s": after.reads_s,
            "shares_s": [release.shares_s() for release in before.releases],
        },
    )


def _for_steps(release: ReleaseTimes) -> float:
    """Return the cost of 25 steps: the start-up once, the rest in proportion."""
    rest_s = release.cost_s - release.start_up_s
    return release.start_up_s + rest_s * min(1.0, AIM_STEPS / len(release.tasks))


def _slower(before: _Half, after: _Half) -> bool:
    """Return whether both versions and the reads are slower; the process's start-up does not know of the ledger."""

    def costs(half: _Half, version: str) -> list[float]:
        return [release.cost_s - release.start_up_s for release in half.of(version)]

    pairs = [(costs(before, version), costs(after, version)) for version in _ORDER]
    # Too few to tell noise from a slower ledger is no proof that it is not slower.
    if any(min(len(first), len(then)) < _ENOUGH for first, then in pairs):
        return True
    reads_too = measurably_slower(before.reads_s, after.reads_s)
    return reads_too and all(measurably_slower(first, then) for first, then in pairs)


def _releases_grid(before: _Half, after: _Half) -> Grid:
    rows = [
        (
            _MADE_OF[release.version] + (", long past" if release in after.releases else ""),
            str(len(release.tasks)),
            *(f"{each:.1f} s" for each in (release.whole_s, sum(release.commands_s.values()), release.waited_s)),
            f"{release.start_up_s:.1f} s",
            f"{release.cost_s:.1f} s",
        )
        for release in (*before.releases, *after.releases)
    ]
    return Grid("Releases", ("release", "tasks", "whole", "commands", "soaks", "start-up", "cost"), tuple(rows))


def _steps_grid(releases: Sequence[ReleaseTimes]) -> Grid:
    rows = [(label, f"{times:g}" if times else "", f"{cost:.2f} s") for label, cost, times in most_expensive(releases)]
    return Grid("The ten most expensive steps", ("step", "times a release", "median a release"), tuple(rows))


def _past_grid(before: _Half, after: _Half) -> Grid:
    rows = [
        (
            f"cost of {_MADE_OF[version]}",
            *(
                str(Spread.of(r.cost_s for r in half.of(version))) if half.of(version) else "-"
                for half in (before, after)
            ),
        )
        for version in _ORDER
    ]
    reads_ms = [Spread.of(1000 * each for each in half.reads_s) for half in (before, after)]
    rows.append(
        (
            "all that a release reads from the ledger",
            *(f"{each.median:.0f} ms ({each.least:.0f} to {each.most:.0f}, n = {each.count})" for each in reads_ms),
        )
    )
    return Grid("A long past", ("what", "before", "after"), tuple(rows))
