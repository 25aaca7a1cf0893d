"""The nouns of gates: what was read, and what follows from it."""

from dataclasses import dataclass
from datetime import datetime

from tasks.common.promql import window


@dataclass(frozen=True)
class Names:
    """What a gate's query is asked about. `window_s` is how far back to look, above 0."""

    service: str
    environment: str
    release: str
    slot: str
    window_s: float
    commit: str

    def values(self) -> dict[str, str]:
        """Return every name with its text: '300s' for the window."""
        return {
            "service": self.service,
            "environment": self.environment,
            "release": self.release,
            "slot": self.slot,
            "window": window(self.window_s),
            "commit": self.commit,
        }


@dataclass(frozen=True)
class Wanted:
    """What the evidence of this run must show.

    Args:
        tests: names of the test steps.
        coverage_at_least: share of the lines, in per cent; None where no coverage is asked for.
        scans: names of the scanners.
        environments: those that the release has to be rehearsed in, in order.
        end_to_end: names of the commands that are run against each of them.
    """

    tests: tuple[str, ...]
    coverage_at_least: float | None
    scans: tuple[str, ...]
    environments: tuple[str, ...]
    end_to_end: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """What was read for a gate.

    Args:
        figure: the number that was read: for a recorded gate, how many things passed; None where there is none.
        problem: what speaks against it, whatever the figure says; empty where nothing does.
        source: where it was read.
        at: when; aware.
        bound: what the figure is held against where the gate itself has no bound.
        mend: what the operator does about the problem.
    """

    figure: float | None
    problem: str
    source: str
    at: datetime
    bound: str = ""
    mend: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether a gate is open, with its figure, bound and source; `mend` says what to do where it is closed."""

    name: str
    open: bool
    figure: float | None
    bound: str
    source: str
    why: str
    mend: str = ""
