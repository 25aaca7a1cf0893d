"""Which backups stay, and why: grandfather, father, son over what was found of each (BAK-3). Pure.

What must never be dropped, whatever the numbers of a plan say (docs/reference/retention.md explains each):

1. what is held or in use, and the newest of all: nobody else has the last hours;
2. `minimum` of the newest, and of the newest that need no other: two that share one base are one accident;
3. the newest one that was verified, and the one whose verification is the latest: proof is worth more than age;
4. the only ones of their hour, day, week or month, also where they are in doubt: what is wrong may be the check, or the
   source, and then a backup that is not perfect is all that there is of that time;
5. what carries an impossible time: a clock was wrong, and so its age is not known;
6. whatever one of these cannot be restored without.

Nothing is dropped because time goes by: periods count only where they have a backup. So a plan whose backups have
stopped, or a clock that jumps ahead, loses nothing. Each repository and each engine is judged by itself.

*Source:* what goes wrong elsewhere: reference "backup-dr", section 6, pain 3 (a minimum that increments alone satisfy,
chains that lose their base), section 8, point 4 (retention by verification).
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, groupby, islice
from types import MappingProxyType

from tasks.common.backup_plans import Retention
from tasks.common.backups import Entry

_NO_REASON = "nothing asks for it"
_NOBODY: Mapping[str, Sequence[str]] = MappingProxyType({})


@dataclass(frozen=True)
class Decision:
    """What becomes of one backup.

    Args:
        entry: which one.
        keep: whether it stays.
        reason: why, in words; all reasons where there are several.
    """

    entry: Entry
    keep: bool
    reason: str


@dataclass(frozen=True)
class _Period:
    name: str
    key: Callable[[datetime], Hashable]
    shown: str


_HOUR = _Period("hour", lambda at: (at.toordinal(), at.hour), "%Y-%m-%d %H:00")
_DAY = _Period("day", lambda at: at.toordinal(), "%Y-%m-%d")
_WEEK = _Period("week", lambda at: at.isocalendar()[:2], "%G-W%V")
_MONTH = _Period("month", lambda at: (at.year, at.month), "%Y-%m")


def plan_retention(
    entries: Sequence[Entry], retention: Retention, now: datetime, in_use: Mapping[str, Sequence[str]] = _NOBODY
) -> tuple[Decision, ...]:
    """Return what becomes of each backup that is there, in the order in which they were given.

    Planning again what is left drops nothing more. What was expired before is left out.

    Args:
        entries: all that are there; where one is missing, those that need it are taken for broken.
        retention: how many of what are kept.
        now: the time, aware; only tells which backups come from the future.
        in_use: why runs that work with one need it, by its id: 'is being verified by run ...'.
    """
    there = [each for each in entries if each.expired_at is None]
    shelves: dict[tuple[str, str, int], list[Entry]] = defaultdict(list)
    for each in there:
        shelves[each.plan, each.engine, each.repository].append(each)
    reasons: dict[str, list[str]] = {}
    doubts: dict[str, str] = {}
    for each_shelf in shelves.values():
        shelf = _Shelf(each_shelf)
        reasons.update(shelf.kept(retention, now, in_use))
        doubts.update({shelf.by_label[label].id: doubt for label, doubt in shelf.doubts.items()})
    return tuple(_decision(each, reasons.get(each.id, []), doubts.get(each.id)) for each in there)


def _decision(entry: Entry, reasons: Sequence[str], doubt: str | None) -> Decision:
    parts = list(reasons) or [_NO_REASON]
    return Decision(entry, bool(reasons), "; ".join([*parts, doubt] if doubt else parts))


class _Shelf:
    """The backups of one plan that one engine has put into one repository, where labels are unique."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.newest_first = sorted(entries, key=_age, reverse=True)
        self.by_label = {each.stored.label: each for each in entries}
        self.doubts = _doubts(self.by_label)

    def kept(self, retention: Retention, now: datetime, in_use: Mapping[str, Sequence[str]]) -> Mapping[str, list[str]]:
        """Return why each of those that stay does so, by id."""
        reasons: dict[str, list[str]] = defaultdict(list)
        in_order = []
        for each in self.newest_first:
            if each.held:
                reasons[each.stored.label].append(f"held: {each.held}")
            if each.id in in_use:
                reasons[each.stored.label].extend(in_use[each.id])
            if impossible := _impossible(each, now):
                reasons[each.stored.label].append(impossible)
            else:
                in_order.append(each)
        trusted = [each for each in in_order if each.stored.label not in self.doubts]
        for each, reason in chain(
            _whatever_their_age(in_order, trusted, retention.minimum),
            _verified(in_order, trusted),
            self._of_periods(in_order, retention),
        ):
            reasons[each.stored.label].append(reason)
        self._add_needed(reasons)
        return {self.by_label[label].id: why for label, why in reasons.items()}

    def _of_periods(self, in_order: Sequence[Entry], retention: Retention) -> Iterator[tuple[Entry, str]]:
        """Yield the newest of each hour, day, ISO week and month that counts."""
        yield from self._of_period(in_order, _HOUR, retention.hourly)
        yield from self._of_period(in_order, _DAY, retention.daily)
        yield from self._of_period(in_order, _WEEK, retention.weekly)
        yield from self._of_period(in_order, _MONTH, retention.monthly)

    def _of_period(self, in_order: Sequence[Entry], period: _Period, count: int) -> Iterator[tuple[Entry, str]]:
        """Yield the newest of so many periods.

        Periods where every backup is in doubt are kept beside the others, not in their place, as far back as those go.
        """
        good = spare = 0
        for _, group in groupby(in_order, lambda each: period.key(_ended(each))):
            if good == count:
                return
            members = list(group)
            best = next((each for each in members if each.stored.label not in self.doubts), None)
            when = f"{period.name} {_ended(members[0]):{period.shown}}"
            if best is not None:
                good += 1
                yield best, f"newest of the {when}"
            elif spare < count:
                spare += 1
                yield members[0], f"nothing better of the {when}"

    def _add_needed(self, reasons: dict[str, list[str]]) -> None:
        """What the kept ones need stays, too."""
        told: set[str] = set()
        waiting = [each.stored.label for each in self.newest_first if each.stored.label in reasons]
        for label in waiting:  # grows while it is read
            for needed in self.by_label[label].stored.needs:
                if needed not in self.by_label or needed in told:
                    continue
                told.add(needed)
                if needed not in reasons:
                    waiting.append(needed)
                reasons[needed].append(f"needed by {label}")


def _whatever_their_age(
    in_order: Sequence[Entry], trusted: Sequence[Entry], minimum: int
) -> Iterator[tuple[Entry, str]]:
    """Yield those that stay because they are the newest; who is in doubt only fills up."""
    good = {each.id for each in trusted[:minimum]}
    spare = islice((each for each in in_order if each.id not in good), minimum - len(good))
    few = [*trusted[:minimum], *spare]
    yield from ((each, f"among the {minimum} newest") for each in few)
    told = {each.id for each in few}
    yield from ((each, "the newest") for each in in_order[:1] if each.id not in told)
    alone = islice((each for each in trusted if not each.stored.needs), minimum)
    yield from ((each, f"among the {minimum} newest that need no other") for each in alone if each.id not in told)


def _verified(in_order: Sequence[Entry], trusted: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    """Yield the newest backup that was verified, and the one whose verification is the latest.

    Only where none that was verified can still be trusted, those that were found right once stand in.
    """
    proven = [each for each in trusted if each.verified_at] or [each for each in in_order if each.verified_at]
    if proven:
        yield proven[0], "the last one that was verified"
        latest = max(proven, key=lambda each: (each.verified_at, _age(each)))
        if latest is not proven[0]:
            yield latest, "the one whose verification is the latest"


def _doubts(by_label: Mapping[str, Entry]) -> dict[str, str]:
    """Return why backups may not be right, by label; also of those that build on such a one.

    Who was verified after that was found out is in no doubt: what it builds on has been restored with it.
    """
    builds_on: dict[str, list[Entry]] = defaultdict(list)
    roots = []
    for label, each in by_label.items():
        for needed in each.stored.needs:
            builds_on[needed].append(each)
        if root := _own_doubt(each, by_label):
            roots.append((*root, label))
    doubts: dict[str, str] = {}
    # The latest first: who was verified after that one was verified after each.
    for since, doubt, label in sorted(roots, reverse=True):
        doubts[label] = doubt
        waiting = [label]
        for reached in waiting:  # grows while it is read
            for each in builds_on[reached]:
                if each.stored.label not in doubts and not (each.verified_at and each.verified_at > since):
                    doubts[each.stored.label] = f"it needs {label}: {doubt}"
                    waiting.append(each.stored.label)
    return doubts


def _own_doubt(entry: Entry, by_label: Mapping[str, Entry]) -> tuple[datetime, str] | None:
    """Return since when a backup may not be right by itself, and why."""
    missing = [label for label in entry.stored.needs if label not in by_label]
    if missing:
        return datetime.max.replace(tzinfo=UTC), f"it needs {missing[0]}, which is not there"
    if entry.unsound_at:
        return entry.unsound_at, f"found unsound at {entry.unsound_at.astimezone(UTC):%Y-%m-%d %H:%M}"
    if entry.stored.error and not entry.verified_at:
        return entry.stored.ended_at, f"the engine says: {entry.stored.error}"
    return None


def _impossible(entry: Entry, now: datetime) -> str:
    """Return what cannot be about a backup's time; '' where nothing is."""
    if entry.stored.ended_at > now:
        return f"from the future: a clock is wrong, for it ended at {_ended(entry):%Y-%m-%d %H:%M:%S} UTC"
    if entry.stored.ended_at < entry.stored.started_at:
        return "it ended before it began: a clock was set back, and its age is not known"
    return ""


def _ended(entry: Entry) -> datetime:
    return entry.stored.ended_at.astimezone(UTC)


def _age(entry: Entry) -> tuple[datetime, datetime, str]:
    """Return what puts backups in order of time, also those of one moment."""
    return entry.stored.ended_at, entry.stored.started_at, entry.stored.label
