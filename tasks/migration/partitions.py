"""Which partitions are made ahead, and which leave (MIG-3): what is there and the time come to printable steps. Pure.

What stands in the way of one table is said, and does not keep others from their partitions: one that is missing is an
outage.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from tasks.common.partitioning import PartitionSpec, RangeUnit
from tasks.common.units import show_size
from tasks.migration.model import Table, quoted
from tasks.migration.partition_model import (
    Create,
    Detach,
    Detached,
    Drop,
    KeyType,
    Mark,
    Note,
    Partition,
    Plan,
    Problem,
    Ranged,
    Step,
    attach,
)

MOST_AT_ONCE = 120
"""More partitions are not made by one plan: it is more likely that the unit is not what was meant."""
_LONGEST_NAME = 63
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def plan(spec: PartitionSpec, seen: Ranged, now: datetime, server_version: int) -> Plan:
    """Return what makes a table's partitions what the estate file wants; nothing where they are.

    Args:
        spec: what is wanted.
        seen: what is there.
        now: by the server's clock, aware.
        server_version: as `server_version_num` has it.
    """
    if seen.problem:
        return Plan(problems=(Problem(seen.name, seen.problem, seen.next_action),))
    calendar = _Calendar(spec, seen.type)
    present = calendar.first_of(calendar.day(now))
    cutoff = None if spec.keep_months is None else _later(present, -spec.keep_months)
    made, problems, notes = _ahead(spec, seen, calendar, present, cutoff)
    gone, why = _leaving(spec, seen, calendar, cutoff, now, concurrent=server_version >= 140_000)
    return Plan((*made, *gone), tuple(problems), (*notes, *why))


class _Calendar:
    """Days as moments on the axis of a table's key."""

    def __init__(self, spec: PartitionSpec, type_: KeyType) -> None:
        self.unit, self.type = spec.every, type_
        self.zone = ZoneInfo(spec.time_zone)

    def day(self, at: datetime) -> date:
        """Return the day that an aware moment lies in."""
        return at.astimezone(self.zone).date()

    def axis(self, day: date) -> datetime:
        """Return where a day begins on the axis."""
        zone = self.zone if self.type is KeyType.MOMENT else UTC
        return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)

    def local(self, at: datetime) -> datetime:
        """Return what a moment on the axis is in the time zone."""
        return at.astimezone(self.zone) if self.type is KeyType.MOMENT else at

    def first_of(self, day: date) -> date:
        """Return the first day of the range that a day lies in."""
        return date(day.year, (day.month - 1) // self.unit.months * self.unit.months + 1, 1)

    def written(self, at: datetime | None) -> str:
        """Return a moment as SQL has it."""
        if at is None:
            return "-"
        match self.type:
            case KeyType.MOMENT:
                return f"{at.replace(tzinfo=None).isoformat(sep=' ')}+00"
            case KeyType.CLOCK:
                return at.replace(tzinfo=None).isoformat(sep=" ")
            case KeyType.DAY:
                return at.date().isoformat()

    def suffix(self, day: date, lower: datetime, upper: datetime) -> str:
        """Return the end of a partition's name; one that is a piece of a range is named by its days."""
        if (lower, upper) != (self.axis(day), self.axis(_later(day, self.unit.months))):
            return f"_p{_stamp(self.local(lower))}_{_stamp(self.local(upper))}"
        match self.unit:
            case RangeUnit.MONTH:
                return f"_p{day:%Y_%m}"
            case RangeUnit.QUARTER:
                return f"_p{day:%Y}_q{(day.month - 1) // 3 + 1}"
            case RangeUnit.YEAR:
                return f"_p{day:%Y}"


def _stamp(at: datetime) -> str:
    return f"{at:%Y%m%d}" if (at.hour, at.minute) == (0, 0) else f"{at:%Y%m%dt%H%M}"


def _later(day: date, months: int) -> date:
    whole = day.year * 12 + day.month - 1 + months
    return date(whole // 12, whole % 12 + 1, 1)


def _ahead(
    spec: PartitionSpec, seen: Ranged, calendar: _Calendar, present: date, cutoff: date | None
) -> tuple[list[Step], list[Problem], list[str]]:
    """Return what is made: of the present range and those ahead, and what is missing since the first that is kept."""
    steps: list[Step] = []
    problems: list[Problem] = []
    there = [each for each in seen.partitions if not each.default]
    day, end = _first(calendar, there, present, cutoff), _later(present, (spec.ahead + 1) * spec.every.months)
    while day < end:
        after = _later(day, spec.every.months)
        for lower, upper in _missing(calendar.axis(day), calendar.axis(after), there):
            name = _name(seen.table.name, calendar.suffix(day, lower, upper))
            partition = Table(name=name, schema_=seen.table.schema_)
            if name in seen.taken:
                problems.append(_taken(seen, partition, calendar.written(lower), calendar.written(upper)))
                continue
            bounds = calendar.written(lower), calendar.written(upper)
            steps.append(Create(seen.table, partition, *bounds, seen.default is not None, seen.owner))
        day = after
    if len(steps) > MOST_AT_ONCE:
        what = f"{len(steps)} partitions are missing, and more than {MOST_AT_ONCE} are not made at once"
        return [], [Problem(seen.name, what, "look at 'every', and make those of the past by hand")], []
    notes = []
    if any(each.upper is None for each in there):
        notes.append(f"{seen.name}: a partition without an upper bound takes what comes: nothing is made behind it")
    return steps, problems, notes


def _first(calendar: _Calendar, there: Sequence[Partition], present: date, cutoff: date | None) -> date:
    known = [calendar.local(each.lower).date() for each in there if each.lower is not None]
    first = min([present, *(calendar.first_of(day) for day in known)])
    return first if cutoff is None else max(first, cutoff)


def _missing(lower: datetime, upper: datetime, there: Sequence[Partition]) -> Iterator[tuple[datetime, datetime]]:
    """Yield what no partition takes of a range."""
    at = lower
    for each in sorted(there, key=lambda one: one.lower or _EARLIEST):
        begins, ends = each.lower or _EARLIEST, each.upper or _LATEST
        if ends <= at or begins >= upper:
            continue
        if begins > at:
            yield at, begins
        at = max(at, ends)
    if at < upper:
        yield at, upper


def _name(table: str, suffix: str) -> str:
    room = _LONGEST_NAME - len(suffix)
    return table.encode()[:room].decode(errors="ignore") + suffix


def _taken(seen: Ranged, partition: Table, lower: str, upper: str) -> Problem:
    left = next((each for each in seen.detached if each.table == partition), None)
    what = "which was detached" if left is not None else "which is no partition of it"
    return Problem(
        seen.name,
        f"there is no partition from {lower} to {upper}, and its name is that of {partition}, {what}",
        f"rename that one, or attach it: {attach(seen.table, partition, lower, upper)}",
    )


def _leaving(
    spec: PartitionSpec, seen: Ranged, calendar: _Calendar, cutoff: date | None, now: datetime, *, concurrent: bool
) -> tuple[list[Step], list[str]]:
    """Return what becomes of the old: noted, detached, noted again, dropped when its time has come."""
    steps: list[Step] = []
    notes: list[str] = []
    for gone in seen.detached:
        steps += _left(spec, seen, gone, now)
    for each in sorted(seen.partitions, key=lambda one: one.upper or _LATEST):
        ours = each.mark is not None and each.mark.parent == str(seen.table)
        if each.pending and not ours:
            notes.append(f"{seen.name}: somebody else detaches {each.table.name}: it is left alone")
            continue
        old = cutoff is not None and each.upper is not None and each.upper <= calendar.axis(cutoff)
        if each.default or not (old or each.pending):
            continue
        mark = each.mark if ours else None
        if mark is None or mark.detached_at is not None:
            rest = mark.rest if mark is not None else each.comment
            mark = Mark(str(seen.table), calendar.written(each.lower), calendar.written(each.upper), None, rest)
            steps.append(Note(seen.table, each.table, mark))
        size = _size(each.rows, each.size_bytes)
        steps.append(Detach(seen.table, each.table, concurrent and seen.default is None, size))
        steps += _left(spec, seen, Detached(each.table, mark, each.rows, each.size_bytes), now)
    return steps, notes


def _left(spec: PartitionSpec, seen: Ranged, gone: Detached, now: datetime) -> Iterator[Step]:
    mark, at = gone.mark, gone.mark.detached_at
    if at is None:
        at = now
        yield Note(seen.table, gone.table, Mark(mark.parent, mark.lower, mark.upper, now, mark.rest))
    if spec.drop_after_s is not None and now - at >= timedelta(seconds=spec.drop_after_s):
        yield Drop(seen.table, gone.table, _size(gone.rows, gone.size_bytes))


def _size(rows: int, size_bytes: int) -> str:
    return show_size(size_bytes) if rows < 0 else f"about {rows} rows, {show_size(size_bytes)}"


def without(planned: Plan, seen: Ranged, strays: Sequence[tuple[Create, int]]) -> Plan:
    """Return the plan without the partitions whose rows lie in the default partition: those rows have to move before.

    Args:
        planned: for the table.
        seen: the table.
        strays: what was found in the default partition, by the step that it stands in the way of.
    """
    stopped = {step: rows for step, rows in strays if rows}
    problems = [_strayed(seen, step, rows) for step, rows in stopped.items()]
    steps = tuple(each for each in planned.steps if each not in stopped)
    return Plan(steps, (*planned.problems, *problems), planned.notes)


def _strayed(seen: Ranged, step: Create, rows: int) -> Problem:
    assert seen.default is not None, "rows stray into it"
    at, key = seen.default.table, quoted(seen.key)
    condition = f"{key} >= '{step.lower}' AND {key} < '{step.upper}'"
    columns = ", ".join(quoted(each) for each in seen.columns)
    takes = f"DELETE FROM {at} WHERE {condition} RETURNING {columns}"  # noqa: S608 - shown to people, of quoted names
    moves = f"WITH gone AS ({takes}) INSERT INTO {step.partition} ({columns}) TABLE gone"
    moved = "; ".join(["BEGIN", *step.statements[:-1], moves, step.statements[-1], "COMMIT"])
    return Problem(
        seen.name,
        f"{step.partition.name} is not made: {at.name}, the default partition, has {rows} rows of its range",
        f"move them (users wait for as long as it takes): {moved}",
    )


def clocks_apart(server: datetime, here: datetime, most_s: float = 600.0) -> str:
    """Return what is wrong with the clocks; '' where they agree. By a wrong one, retention takes what is to be kept."""
    apart_s = abs((server - here).total_seconds())
    return f"the clocks of the server and of this machine are {apart_s:.0f} s apart" if apart_s > most_s else ""
