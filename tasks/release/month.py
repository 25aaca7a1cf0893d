"""What a month of releases comes to, for those who answer for it. Pure.

*Source:* the measures of DORA's reports on the state of DevOps: deployment frequency, change failure rate, and time to
restore service. The fourth, lead time for changes, needs the commit's time, which the ledger does not keep.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from tasks.common.markdown import escape, table
from tasks.common.units import show_duration, show_percent
from tasks.release.model import Kind, Outcome, ReleaseRecord

_BAD = (Outcome.ROLLED_BACK, Outcome.UNSAFE)
"""What users may have noticed. One that has failed before its environment was touched is none."""


@dataclass(frozen=True)
class Line:
    """What a month was for one service in one environment.

    Args:
        service: its name.
        environment: its name.
        outcomes: how many releases ended how.
        rollbacks: that somebody asked for.
        took_s: median time of the releases that succeeded; None where there was none.
        bad_for_s: the time of each from the start of a release that went bad to the end of what mended it.
    """

    service: str
    environment: str
    outcomes: Counter[Outcome]
    rollbacks: int
    took_s: float | None
    bad_for_s: tuple[float, ...]

    @property
    def reached(self) -> int:
        """Return how many releases have touched the environment."""
        return sum(self.outcomes[each] for each in (Outcome.SUCCEEDED, *_BAD))

    @property
    def bad_percent(self) -> float | None:
        """Return the change failure rate: of the releases that have touched the environment, those that went bad."""
        bad = sum(self.outcomes[each] for each in _BAD) + self.rollbacks
        return 100 * min(bad, self.reached) / self.reached if self.reached else None


def month_of(text: str, now: datetime) -> tuple[datetime, datetime]:
    """Return the first moments of a month and of the one after it, in UTC.

    Args:
        text: '2026-10'; '' for the month before the present one.
        now: aware.

    Raises:
        ValueError: it is no month.
    """
    if text:
        begin = datetime.combine(date.fromisoformat(f"{text}-01"), time(), UTC)
    else:
        begin = (now.astimezone(UTC).replace(day=1) - timedelta(days=1)).replace(day=1)
    begin = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    return begin, (begin + timedelta(days=32)).replace(day=1)


def lines(records: Sequence[ReleaseRecord], begin: datetime, end: datetime) -> tuple[Line, ...]:
    """Return a line for each service and environment that had a release or rollback in the time."""
    within = sorted((r for r in records if begin <= r.started_at < end), key=lambda record: record.started_at)
    places = sorted({(record.service, record.environment) for record in within})
    return tuple(_line(*place, [r for r in within if (r.service, r.environment) == place]) for place in places)


def _line(service: str, environment: str, records: Sequence[ReleaseRecord]) -> Line:
    released = [record for record in records if record.kind is Kind.RELEASE]
    took = [
        (record.ended_at - record.started_at).total_seconds()
        for record in released
        if record.ended_at is not None and record.outcome is Outcome.SUCCEEDED
    ]
    return Line(
        service,
        environment,
        Counter(record.outcome for record in released),
        sum(record.kind is Kind.ROLLBACK and record.outcome is Outcome.SUCCEEDED for record in records),
        statistics.median(took) if took else None,
        tuple(_bad_for(records)),
    )


def _bad_for(records: Sequence[ReleaseRecord]) -> list[float]:
    """Return the time from the start of each release that went bad to the next end that was good."""
    found: list[float] = []
    since: datetime | None = None
    for record in records:
        if since is None and record.outcome in _BAD:
            since = record.started_at
        mended = record.outcome in (Outcome.SUCCEEDED, Outcome.ROLLED_BACK)
        if since is not None and mended and record.ended_at is not None:
            found.append((record.ended_at - since).total_seconds())
            since = None
    return found


def report(month: datetime, found: Sequence[Line]) -> str:
    """Return the month as Markdown: a summary first, then a table."""
    reached, bad = sum(each.reached for each in found), sum(len(each.bad_for_s) for each in found)
    said = f"{reached} releases reached an environment; {bad} times one went bad and was mended."
    head = ("service", "in", "reached", "failed before", "went bad", "rollbacks by hand", "took", "bad for")
    body = [
        (
            escape(each.service),
            escape(each.environment),
            str(each.reached),
            str(each.outcomes[Outcome.FAILED]),
            show_percent(each.bad_percent) if each.bad_percent is not None else "",
            str(each.rollbacks),
            show_duration(each.took_s) if each.took_s is not None else "",
            show_duration(statistics.median(each.bad_for_s)) if each.bad_for_s else "",
        )
        for each in found
    ]
    tail = "_went bad_: rolled back, unsafe, or left by hand. _took_, _bad for_: medians."
    rows = f"{table(head, body)}\n\n{tail}" if body else "Nothing was released."
    return f"# Releases in {month:%Y-%m}\n\n{said}\n\n{rows}\n"
