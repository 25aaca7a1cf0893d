"""The @task functions of notification: thin, and the only module here that imports Prefect."""

import contextvars
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from prefect import task
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from blocks.journal import Journal
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.steps import ONCE
from tasks.common.units import show_duration
from tasks.notify.model import Delivery, Message
from tasks.notify.ports import Channel

WITHIN_S = 19.0
TRIES = 3
_WAITS_S = (0.5, 2.0)
_SHOWN_WITHIN_S = 1.0


def tell(channels: Sequence[Channel], message: Message, journal: Journal | None, *, within_s: float = WITHIN_S) -> None:
    """Every channel that wants the message was tried, side by side, and what became of it is logged and on record.

    Never fails the work and never holds it up for longer than `within_s`, whatever the channels do, and whether or not
    the Prefect server answers. Note it before the run's summary is made, so that a channel that failed is seen there.
    What is about no run on record, such as drift, has no journal: then the log alone says who was not told.
    *Idempotent:* no; who is told twice is told twice.
    """
    wanted = [channel for channel in channels if channel.wants(message)]
    if not wanted:
        return
    try:
        sending = Sending(message, wanted, within_s)
        _show(sending)
        for delivery in sending.deliveries():
            if not delivery.sent:
                _log().warning("%s was not told after %d tries: %s", delivery.channel, delivery.tries, delivery.problem)
            if journal is not None:
                _note(message, delivery, journal)
    except Exception as problem:
        # Its text may hold anything, an address with its token, too.
        _log().warning("'%s' was perhaps not sent: unexpected %s", message.title, type(problem).__name__)


@dataclass(eq=False)
class Sending:
    """One message on its way to its channels, from the moment that this is made.

    Args:
        message: what is sent.
        channels: where to.
        within_s: no try begins, and nobody waits, later than this.
    """

    message: Message
    channels: Sequence[Channel]
    within_s: float
    _deadline: float = field(init=False)
    _found: dict[str, Delivery] = field(default_factory=dict, init=False)
    _threads: list[threading.Thread] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Begin."""
        self._deadline = time.monotonic() + self.within_s
        for channel in self.channels:
            unanswered = Delivery(channel.name, 1, f"no answer within {show_duration(self.within_s)}")
            self._found[channel.name] = unanswered
            # Daemons: a channel that hangs must not keep the process from ending.
            thread = threading.Thread(target=self._deliver, args=(channel,), name=f"notify {channel.name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def left_s(self) -> float:
        """Return how long may still be waited."""
        return max(0.0, self._deadline - time.monotonic())

    def deliveries(self) -> tuple[Delivery, ...]:
        """Return what became of the message at each channel, when all are done or the time is over."""
        for thread in self._threads:
            thread.join(self.left_s())
        return tuple(self._found[channel.name] for channel in self.channels)

    def _deliver(self, channel: Channel) -> None:
        for number in range(1, TRIES + 1):
            problem, again = _try(channel, self.message)
            self._found[channel.name] = Delivery(channel.name, number, problem)
            if not again or number == TRIES or time.monotonic() + _WAITS_S[number - 1] > self._deadline:
                return
            time.sleep(_WAITS_S[number - 1])


def _try(channel: Channel, message: Message) -> tuple[str, bool]:
    """Return what went wrong, and whether another try may help."""
    try:
        channel.notifier.send(message)
    except SlipwayError as problem:
        return f"{problem.what} (on {problem.on}; {problem.next_action})", isinstance(problem, Retryable)
    except Exception as problem:
        # Only the type: its text may hold an address with its token.
        return f"unexpected {type(problem).__name__}", False
    return "", False


@task(name="notify", task_run_name="notify: {sending.message.title}", **ONCE)
def notify(sending: Sending) -> None:
    """Every channel has taken the message. *Idempotent:* yes; it is sent already, and only awaited here.

    Raises:
        Refused: one or more have not; says which, and why.
    """
    failed = [delivery for delivery in sending.deliveries() if not delivery.sent]
    if failed:
        raise Refused(
            f"{len(failed)} of {len(sending.channels)} channels were not told",
            on=sending.message.title,
            state="the work itself goes on",
            next_action="tell them yourself; mend the channel under 'notifications' of the estate file",
            facts={delivery.channel: delivery.problem for delivery in failed},
        )


def _show(sending: Sending) -> None:
    """The message is a task in the Prefect UI, if its server answers in time; it is on its way without that."""
    log = _log()

    def show() -> None:
        try:
            notify(sending, return_state=True)
        except Exception as problem:
            log.warning("not shown in the Prefect UI: %s", type(problem).__name__)

    # A thread, as a server that takes a connection and says nothing holds up its client for a minute and more; with
    # the context, which tells Prefect what run the task is part of.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(show,), name="notify", daemon=True)
    thread.start()
    thread.join(sending.left_s() + _SHOWN_WITHIN_S)
    if thread.is_alive():
        log.warning("not shown in the Prefect UI: its server does not answer")


def _note(message: Message, delivery: Delivery, journal: Journal) -> None:
    journal.note(
        "notification",
        delivery.channel,
        occasion=message.occasion.value,
        title=message.title,
        sent=delivery.sent,
        tries=delivery.tries,
        reason=delivery.problem,
    )


def _log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("slipway")
