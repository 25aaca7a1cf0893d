"""Alarms that the Prefect server raises, told to people: it finds what is wrong also when every worker is dead.

An alarm holds the id of a run, or the name of a schedule or plan, and nothing else: whoever reaches this address can
have people told of what is true, and of nothing else.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deployments.receiver.seen import Seen
from tasks.common.estate import Estate
from tasks.notify.alarms import Run, crashed, failed, overdue, unprotected
from tasks.notify.model import About, Delivery, Message, Topic
from tasks.notify.ports import Channel

log = logging.getLogger("slipway.receive")

ONCE_IN_S = 300.0
"""The same alarm is told once in this time."""
_RUN = re.compile(r"(prefect\.flow-run\.)?([0-9a-f-]{36})")

Send = Callable[[Sequence[Channel], Message], Sequence[Delivery]]
"""Sends a message to channels, and returns what has become of it at each."""


class Alarm(BaseModel):
    """What the Prefect server has found."""

    model_config = ConfigDict(extra="forbid")

    alarm: Literal["crashed", "failed", "overdue", "no-backup", "no-verification"]
    run: str = Field(default="", max_length=100, description="id of the run")
    schedule: str = Field(default="", max_length=100, description="name of the schedule")
    plan: str = Field(default="", max_length=100, description="name of the backup plan")


class Alarms:
    """Tells people of alarms. Safe to share between threads.

    Args:
        estate: names the schedules and plans.
        channels: of its people.
        find_run: returns a run by its id; None where the server does not know it.
        send: sends messages.
        seen: counts.
        clock: returns seconds, never less than before.
    """

    def __init__(
        self,
        estate: Estate,
        channels: Sequence[Channel],
        find_run: Callable[[str], Run | None],
        send: Send,
        seen: Seen,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._estate, self._channels, self._find_run = estate, channels, find_run
        self._send, self._seen, self._clock = send, seen, clock
        self._told_at_s: dict[str, float] = {}

    def take(self, alarm: Alarm) -> Message | None:
        """Return what people are to be told; None where there is nothing, or it was told just now.

        Raises:
            Retryable: the Prefect server does not say what run it is.
        """
        message = self._message(alarm)
        if message is None:
            log.warning("an alarm that is about nothing known here: %s", alarm.alarm)
            return None
        key, now_s = f"{alarm.alarm} {alarm.run} {alarm.schedule} {alarm.plan}", self._clock()
        self._told_at_s = {each: at_s for each, at_s in self._told_at_s.items() if now_s - at_s < ONCE_IN_S}
        if key in self._told_at_s:
            return None
        self._told_at_s[key] = now_s
        return message

    def tell(self, message: Message) -> None:
        """Every channel that wants the message was tried; one that has failed is in the log and in the figures."""
        wanted = [channel for channel in self._channels if channel.wants(message)]
        log.warning("alarm: %s; told to %d channels", message.title, len(wanted))
        for delivery in self._send(wanted, message):
            self._seen.alarm(delivery.sent)
            if not delivery.sent:
                log.error("%s was not told: %s", delivery.channel, delivery.problem)

    def _message(self, alarm: Alarm) -> Message | None:
        name, now = self._estate.estate, datetime.now(UTC)
        if alarm.alarm in ("no-backup", "no-verification"):
            return self._unprotected(alarm, now)
        if alarm.alarm == "overdue":
            schedule = self._estate.schedules.get(alarm.schedule)
            if schedule is None or schedule.success_within_s is None:
                return None
            parameters = schedule.parameters
            about = About(
                Topic.RUN, name, parameters.get("service", ""), parameters.get("environment", ""), alarm.schedule
            )
            return overdue(about, schedule.start, schedule.success_within_s, now)
        match = _RUN.fullmatch(alarm.run)
        run = self._find_run(match[2]) if match else None
        if run is None:
            return None
        return crashed(name, run, now) if alarm.alarm == "crashed" else failed(name, run, now)

    def _unprotected(self, alarm: Alarm, now: datetime) -> Message | None:
        plan, what = self._estate.backups.get(alarm.plan), alarm.alarm.removeprefix("no-")
        if plan is None or (what == "verification" and plan.verification is None):
            return None
        within_s = plan.backup_within_s if what == "backup" else plan.verified_within_s
        return unprotected(self._estate.estate, alarm.plan, what, within_s, now)
