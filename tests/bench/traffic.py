"""What users got: the lines that the load generator wrote, one by one, as a benchmark must name every failure."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from deployments.lab.load import MIX
from deployments.lab.load_report import failure_bound

SLOW_S = 2.0
"""An answer that takes longer than this, beyond what its kind takes by design, is bad."""

_TAKES_S = {kind.name: kind.takes_s for kind in MIX}


@dataclass(frozen=True)
class Line:
    """One request. Times are aware; release is empty where the answer named none; late_s is the generator's delay."""

    number: int
    kind: str
    release: str
    status: int
    error: str
    sent_at: datetime
    answered_at: datetime
    late_s: float

    @property
    def bad(self) -> bool:
        """Whether it failed or was slow."""
        took_s = (self.answered_at - self.sent_at).total_seconds() - _TAKES_S.get(self.kind, 0.0)
        return bool(self.error) or took_s > SLOW_S


@dataclass(frozen=True)
class Load:
    """A whole run of the load generator.

    Args:
        lines: the requests that were answered or given up, in the order of their end.
        sent: how many were sent; those without a line are unaccounted for.
    """

    lines: tuple[Line, ...]
    sent: int

    @property
    def late_s(self) -> float:
        """How long after its moment a request was sent, at worst; large means that the generator was too slow."""
        return max((line.late_s for line in self.lines), default=0.0)

    @property
    def failures(self) -> tuple[Line, ...]:
        """The requests that did not get the whole, expected answer in time."""
        return tuple(line for line in self.lines if line.error)

    @property
    def failed(self) -> int:
        """How many failed or are unaccounted for."""
        return len(self.failures) + self.sent - len(self.lines)

    @property
    def failed_at_most(self) -> float:
        """Upper 95 % bound of the failure probability, from 0 to 1."""
        return failure_bound(self.failed, self.sent) if self.sent else 1.0

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Return requests and failures by kind of request, the most frequent first."""
        failed = Counter(line.kind for line in self.failures)
        return {kind: (count, failed[kind]) for kind, count in Counter(line.kind for line in self.lines).most_common()}

    def by_release(self) -> dict[str, int]:
        """Return the number of answers by release."""
        return dict(Counter(line.release or "none" for line in self.lines).most_common())


def read(path: Path) -> Load:
    """Return what an ended load run wrote.

    Raises:
        ValueError: it did not write its last line, or not its first.
    """
    head, *rest = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if "started_at" not in head or not rest or "sent" not in rest[-1]:
        raise ValueError(f"{path} is not of a load run that has ended")
    began = datetime.fromisoformat(head["started_at"])
    lines = tuple(
        Line(
            number=row["n"],
            kind=row["kind"],
            release=row["release"],
            status=row["status"],
            error=row["error"],
            sent_at=began + timedelta(seconds=row["at"] + row["late"]),
            answered_at=began + timedelta(seconds=row["at"] + row["s"]),
            late_s=row["late"],
        )
        for row in rest[:-1]
    )
    return Load(lines, rest[-1]["sent"])


@dataclass(frozen=True)
class TurnBack:
    """A release that was turned back, from its fault to its end, in seconds; None where it did not happen.

    Args:
        shown_to_metrics_s: first bad answer to the first scrape that has it.
        shown_to_decision_s: first scrape that has it to the decision.
        fault_to_decision_s: first bad answer to the decision.
        decision_to_shift_s: decision to all traffic elsewhere, as the ledger has it.
        decision_to_last_sent_s: decision to the last request that was sent and went to the release.
        decision_to_last_answer_s: decision to the last answer of the release to a request that was sent after it, the
            reports left out that take two seconds by design.
        drained: requests that were open at the decision and were finished by the release.
        bad: bad answers, whole release.
        served: answers of the release.
    """

    shown_to_metrics_s: float | None
    shown_to_decision_s: float | None
    fault_to_decision_s: float | None
    decision_to_shift_s: float
    decision_to_last_sent_s: float | None
    decision_to_last_answer_s: float | None
    drained: int
    bad: int
    served: int


def turn_back(
    lines: Sequence[Line], release: str, *, decided_at: datetime, shifted_at: datetime, scraped_at: datetime | None
) -> TurnBack:
    """Return how a release was turned back.

    Args:
        lines: what users got. Failures without a release are taken for its own: the stable release has none.
        release: the one that was turned back.
        decided_at: when the verdict was noted.
        shifted_at: when the shift away from it was noted.
        scraped_at: the first scrape whose figures have the fault; None if there is none.
    """
    own = [line for line in lines if line.release == release or (line.error and not line.release)]
    bad = sorted(line.answered_at for line in own if line.bad)
    late = [line for line in own if line.sent_at > decided_at]
    quick = [line.answered_at for line in late if not _TAKES_S.get(line.kind)]
    return TurnBack(
        shown_to_metrics_s=_between(bad[0] if bad else None, scraped_at),
        shown_to_decision_s=_between(scraped_at, decided_at),
        fault_to_decision_s=_between(bad[0] if bad else None, decided_at),
        decision_to_shift_s=(shifted_at - decided_at).total_seconds(),
        decision_to_last_sent_s=_between(decided_at, max((line.sent_at for line in late), default=None)),
        decision_to_last_answer_s=_between(decided_at, max(quick, default=None)),
        drained=sum(line.sent_at <= decided_at < line.answered_at for line in own),
        bad=len(bad),
        served=len(own),
    )


def _between(start_at: datetime | None, end_at: datetime | None) -> float | None:
    return None if start_at is None or end_at is None else (end_at - start_at).total_seconds()
