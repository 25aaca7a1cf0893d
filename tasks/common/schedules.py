"""Schedules: which flow starts when, and what becomes of a run that could not start in time (TRG-2)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice, pairwise
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from tasks.common.model import Problem, StrictModel, near, refuse
from tasks.common.units import CLOCK_PATTERN, Expected, Name, PositiveDuration, show_duration

DEPLOYMENT = "slipway"
"""Name of every flow's own deployment; one of a schedule has the schedule's name."""
_CRON_WORDS = "a cron line of five fields, such as '0 2 * * *'"
_LOOKED_AT = 400
"""More than a year of days: the longest wait between two runs of a cron line is among so many."""


def _known_zone(value: str) -> str:
    if value not in available_timezones():
        raise Expected(f"a time zone such as 'Europe/Berlin' or 'UTC'{near(value, available_timezones())}", value)
    return value


def _sound_cron(value: str) -> str:
    try:
        if len(value.split()) != 5:
            raise CronSimError
        CronSim(value, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError:
        raise Expected(_CRON_WORDS, value) from None
    return value


TimeZone = Annotated[str, AfterValidator(_known_zone)]
Cron = Annotated[str, AfterValidator(_sound_cron)]
ClockTime = Annotated[str, Field(pattern=CLOCK_PATTERN)]


class Weekday(StrEnum):
    """A day of the week, Monday first."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


_WEEK = tuple(Weekday)


class Window(StrictModel):
    """A time of the week in which work may be disturbed. One that ends before it begins ends on the next day."""

    days: list[Weekday] = Field(default=list(_WEEK), min_length=1, description="days on which it begins")
    begins: ClockTime = Field(alias="from", description="when it begins", examples=["02:00"])
    until: ClockTime = Field(description="when it ends", examples=["05:00"])
    time_zone: TimeZone = Field(default="UTC", description="whose clock it goes by")

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.begins == self.until:
            refuse("Window", [Problem(("until",), f"{self.until!r}, when it begins", "another time")])
        return self

    def holds(self, at: datetime) -> bool:
        """Return whether an aware moment is within the window; its end is not."""
        here = at.astimezone(ZoneInfo(self.time_zone))
        clock, today, yesterday = f"{here:%H:%M}", _WEEK[here.weekday()], _WEEK[here.weekday() - 1]
        if self.begins < self.until:
            return today in self.days and self.begins <= clock < self.until
        return (today in self.days and clock >= self.begins) or (yesterday in self.days and clock < self.until)


class Schedule(StrictModel):
    """A flow that starts by the clock."""

    start: Name = Field(description="flow that is started", examples=["monitor"])
    parameters: dict[str, str] = Field(default_factory=dict, description="what the flow is asked for, by name")
    cron: Cron | None = Field(default=None, description=_CRON_WORDS, examples=["0 2 * * *"])
    every_s: PositiveDuration | None = Field(
        default=None, alias="every", ge=60, description="time between two starts, in place of cron"
    )
    time_zone: TimeZone = Field(default="UTC", description="whose clock cron goes by, also when it is put forward")
    overlap: Literal["skip", "queue"] = Field(
        default="skip", description="what a run does while the one before is still at work: not start, or wait"
    )
    start_within_s: PositiveDuration | None = Field(
        default=None,
        alias="start_within",
        description="a run that could not start this long after its time is left out; without it, one run makes up for "
        "all that were missed",
    )
    only_in: list[Name] = Field(default_factory=list, description="windows outside of which no run starts")
    success_within_s: PositiveDuration | None = Field(
        default=None,
        alias="success_within",
        ge=60,
        description="an alarm goes out when no run has succeeded for this long, also when nothing runs at all",
    )
    enabled: bool = Field(default=True, description="false: it stays on the server, and starts nothing")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse("Schedule", self._problems())
        return self

    def _problems(self) -> list[Problem]:
        if (self.cron is None) is (self.every_s is None):
            both = "both cron and every" if self.cron is not None else "neither cron nor every"
            return [Problem(("cron",), both, "one of them")]
        longest_s = self.longest_wait_s()
        if self.success_within_s is not None and self.success_within_s <= longest_s:
            found = f"less than the {show_duration(longest_s)} between two runs: it would go out for nothing"
            return [Problem(("success_within",), found, "more than that, and the time that a run takes")]
        return []

    def next_start(self, after: datetime, windows: Mapping[str, Window]) -> datetime | None:
        """Return when a run starts next, in UTC; None where none does.

        What starts every so often does so at that time at the latest: since when it counts, only the server knows.

        Args:
            after: aware.
            windows: those that there are, by name.
        """
        if not self.enabled:
            return None
        if self.every_s is not None:
            return after.astimezone(UTC) + timedelta(seconds=self.every_s)
        starts = islice(CronSim(str(self.cron), after.astimezone(ZoneInfo(self.time_zone))), _LOOKED_AT)
        inside = (at for at in starts if not self.only_in or any(windows[name].holds(at) for name in self.only_in))
        found = next(inside, None)
        return None if found is None else found.astimezone(UTC)

    def longest_wait_s(self) -> float:
        """Return the longest time between the starts of two runs, in seconds."""
        if self.every_s is not None:
            return self.every_s
        zone, begin = ZoneInfo(self.time_zone), datetime(2026, 1, 1, tzinfo=UTC)
        moments = islice(CronSim(str(self.cron), begin.astimezone(zone)), _LOOKED_AT)
        times = [moment.astimezone(UTC) for moment in moments]
        return max((later - earlier for earlier, later in pairwise(times)), default=timedelta()).total_seconds()


def schedule_problems(wanted: Mapping[str, Sequence[str]], windows: Collection[str]) -> list[Problem]:
    """Return the windows that schedules name and that there are not, and the name that no schedule can have.

    Args:
        wanted: the windows of each schedule, by its name.
        windows: those that there are.
    """
    found = []
    if DEPLOYMENT in wanted:
        taken = f"the name {DEPLOYMENT!r}, which every flow's own deployment has"
        found.append(Problem(("schedules", DEPLOYMENT), taken, "another name"))
    for name, names in wanted.items():
        for position, each in enumerate(names):
            if each not in windows:
                unknown = f"the unknown window {each!r}{near(each, windows)}"
                expected = f"one of: {', '.join(sorted(windows))}" if windows else "a window that stands under windows"
                found.append(Problem(("schedules", name, "only_in", position), unknown, expected))
    return found


def left_out(
    schedule: Schedule, windows: Mapping[str, Window], due_at: datetime, now: datetime, *, made_up_for: bool
) -> str:
    """Return why a run does not do its work; '' where it does.

    Args:
        schedule: that it is of.
        windows: those that there are, by name.
        due_at: when it should have started.
        now: when it could start.
        made_up_for: whether another run of the schedule has begun since it was due, and works or has succeeded.
    """
    late_s = (now - due_at).total_seconds()
    if made_up_for:
        return f"it was due at {due_at:%Y-%m-%d %H:%M:%S} UTC, and another run has begun since: that one does the work"
    if schedule.start_within_s is not None and late_s > schedule.start_within_s:
        bound = show_duration(schedule.start_within_s)
        return f"it was due {show_duration(late_s)} ago, and is to start within {bound} or not at all"
    if schedule.only_in and not any(windows[name].holds(now) for name in schedule.only_in):
        return f"it is outside of {', '.join(schedule.only_in)}"
    return ""
