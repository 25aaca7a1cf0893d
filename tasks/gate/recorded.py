"""The gates that are always there: judged from what this run itself has recorded. Nothing can switch them off."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tasks.common.gates import COVERAGE, REHEARSED, SCANS, TESTS, Gate
from tasks.common.units import show_percent
from tasks.gate.model import Reading, Wanted
from tasks.gate.ports import Recorded


def built_in(wanted: Wanted, evidence: Sequence[Recorded], now: datetime) -> list[tuple[Gate, Reading]]:
    """Return the gates that every release has, each with what was recorded for it."""
    tests = [(Gate(name=TESTS, recorded="tests"), wanted)]
    coverage = [(Gate(name=COVERAGE, recorded="coverage"), wanted)] if wanted.coverage_at_least is not None else []
    scans = [(Gate(name=SCANS, recorded="scans"), wanted)]
    rehearsed = [
        (Gate(name=REHEARSED + each, recorded="rehearsal"), replace(wanted, environments=(each,)))
        for each in wanted.environments
    ]
    return [
        (gate, read_recorded(gate, asked, evidence, now)) for gate, asked in [*tests, *coverage, *scans, *rehearsed]
    ]


def read_recorded(gate: Gate, wanted: Wanted, evidence: Sequence[Recorded], now: datetime) -> Reading:
    """Return what the evidence of this run says about a recorded gate.

    Where a step was run more than once, the last time counts. A step without evidence has not passed.
    """
    source = gate.source_words()
    match gate.recorded:
        case "coverage":
            return _coverage(wanted.coverage_at_least, evidence, source, now)
        case "tests":
            needed = [
                problem for name, times in _counted(wanted.tests) for problem in _ran(evidence, "test", name, times)
            ]
        case "scans":
            needed = [problem for name, times in _counted(wanted.scans) for problem in _clean(evidence, name, times)]
        case _:
            needed = [problem for each in wanted.environments for problem in _rehearsed(evidence, each, wanted)]
    problems = [problem for problem in needed if problem]
    passed = len(needed) - len(problems)
    # Of nothing everything is true: a gate that finds nothing to look at has no figure, and stays closed.
    return Reading(float(passed) if needed else None, "; ".join(problems), source, now, f"all {len(needed)} passed")


def _counted(names: Sequence[str]) -> list[tuple[str, int]]:
    """Return each name with how often it is wanted: two steps of a file may be called the same."""
    return list(Counter(names).items())


def _ran(evidence: Sequence[Recorded], kind: str, name: str, times: int) -> list[str]:
    """Return a problem, or nothing, for each time that a command had to run."""

    def problem(found: Recorded | None) -> str:
        if found is None:
            return f"{kind} {name}: nothing is recorded"
        failed = "error" in found.facts or not _is_zero(found.facts.get("exit_code"))
        return f"{kind} {name}: failed" if failed else ""

    return [problem(found) for found in _latest(evidence, kind, name, times)]


def _clean(evidence: Sequence[Recorded], tool: str, times: int) -> list[str]:
    """Return a problem, or nothing, for each time that a scanner had to run."""

    def problem(found: Recorded | None) -> str:
        if found is None:
            return f"scan {tool}: nothing is recorded"
        if "error" in found.facts or not _is_zero(found.facts.get("blocking")):
            return f"scan {tool}: failed, or found something that blocks"
        return ""

    return [problem(found) for found in _latest(evidence, "scan", tool, times)]


def _is_zero(value: object) -> bool:
    return value == 0 and not isinstance(value, bool)


def _rehearsed(evidence: Sequence[Recorded], environment: str, wanted: Wanted) -> list[str]:
    """Return a problem, or nothing, for the smoke tests and for each end-to-end command in one environment."""
    place = f"{environment}: through the router"
    tried = [n for n, item in enumerate(evidence) if (item.kind, item.name) == ("smoke", place)]
    if not tried:
        return [f"{environment}: no smoke tests through the router are recorded"]
    smoke = evidence[tried[-1]]
    passed = smoke.facts.get("passed")
    sound = "error" not in smoke.facts and smoke.facts.get("failed") == [] and isinstance(passed, int) and passed > 0
    # End-to-end tests do not name their environment: they follow its smoke tests, and precede the next one's.
    after = evidence[tried[-1] + 1 :]
    end = next((n for n, item in enumerate(after) if item.kind == "smoke"), len(after))
    names = _counted(wanted.end_to_end)
    commands = [each for name, times in names for each in _ran(after[:end], "end-to-end", name, times)]
    over = any((item.kind, item.name) == ("phase", f"rehearse in {environment}") for item in after)
    return [
        "" if sound else f"{environment}: smoke tests through the router failed",
        "" if over else f"{environment}: the rehearsal did not come to its end",
        *(f"{environment}: {problem}" if problem else "" for problem in commands),
    ]


def _coverage(at_least: float | None, evidence: Sequence[Recorded], source: str, now: datetime) -> Reading:
    if at_least is None:
        return Reading(None, "the service file asks for no coverage", source, now, mend="add test.coverage to it")
    bound = f"at least {show_percent(at_least)}"
    found = next((item for item in reversed(evidence) if item.kind == "coverage"), None)
    covered = found.facts.get("covered_percent") if found is not None else None
    if isinstance(covered, bool) or not isinstance(covered, int | float):
        return Reading(None, "no coverage is recorded", source, now, bound)
    problem = "" if covered >= at_least else f"{show_percent(covered)} is not {bound}"
    return Reading(float(covered), problem, source, now, bound)


def _latest(evidence: Sequence[Recorded], kind: str, name: str, count: int) -> list[Recorded | None]:
    """Return the latest pieces of evidence of a name, as many as are wanted; None for each that is missing."""
    found = [item for item in evidence if (item.kind, item.name) == (kind, name)][-count:]
    return [*found, *[None] * (count - len(found))]
