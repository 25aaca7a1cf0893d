"""What the @task functions of every capability share."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from tasks.common.accounts import Done
from tasks.common.backups import OnProgress, Progress
from tasks.common.errors import Retryable, SlipwayError
from tasks.common.units import show_duration, show_size

T = TypeVar("T")
_TELL_EVERY_S = 10.0


def transient(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Return whether a failed task may be tried again: only if the driver said so (house rule 7)."""
    del task, run
    return isinstance(state.data, Retryable)


ONCE: dict[str, Any] = {"cache_policy": NO_CACHE}
"""Options of tasks that are not tried again. Nothing is cached: every run observes for itself (house rule 3)."""

TRANSIENT: dict[str, Any] = {
    **ONCE,
    "retries": 4,
    "retry_delay_seconds": [0.5, 1, 2, 4],
    "retry_condition_fn": transient,
}
"""Options of tasks that are tried again when the driver says that this may help."""


def patiently(ask: Callable[[], T], *, within_s: float = 20.0) -> T:
    """Return what is answered; asked again while the driver says that this may help, for a bounded time.

    A router or supervisor that is being restarted must neither fail a release nor, worse, its roll-back.

    Raises:
        Retryable: no answer within the time; the last error.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            return ask()
        except Retryable as problem:
            if time.monotonic() > deadline:
                raise
            get_run_logger().warning("asking again: %s", problem.what)
            time.sleep(0.5)


def tell_restored() -> OnProgress:
    """Return what says now and then in the log how far a restore has come."""
    log, told_s = get_run_logger(), time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= _TELL_EVERY_S:
            told_s = time.monotonic()
            whole = f" of {show_size(progress.total_bytes)}" if progress.total_bytes else ""
            log.info("restored %s%s", show_size(progress.done_bytes), whole)

    return tell


@contextmanager
def done_as(what: str, redact: Callable[[str], str], keep: Callable[[Done], None]) -> Iterator[list[str]]:
    """What the block does is kept as a step of an account, however it ends, and told.

    Args:
        what: the step in words.
        redact: takes secrets out of a text.
        keep: is given the step with what came of it: what the block adds to the list that it is given, or its error.
    """
    began, at, said = time.monotonic(), datetime.now(UTC), list[str]()
    try:
        yield said
    except BaseException as error:
        said.append(error.what if isinstance(error, SlipwayError) else type(error).__name__)
        raise
    finally:
        done = Done(what, at, time.monotonic() - began, redact("; ".join(said) or "done"))
        get_run_logger().info("%s: %s (%s)", done.what, done.said, show_duration(done.took_s))
        keep(done)


@contextmanager
def only_shown() -> Iterator[None]:
    """What is only shown in the Prefect UI never fails the work, nor holds it up.

    Without the server it is left out, and logged.
    """
    try:
        with _asked_once():
            yield
    except (httpx.HTTPError, PrefectException) as problem:
        get_run_logger().warning("not shown in the Prefect UI: %s: %s", type(problem).__name__, problem)


def _asked_once() -> SettingsContext:
    """Return settings by which Prefect's clients do not try again.

    One that was connected before would for a minute, and a release would stand still meanwhile, its traffic unwatched.
    `temporary_settings` does the same, and reads all settings anew, which takes longer than what is asked.
    """
    found = get_settings_context()
    client = found.settings.client.model_copy(update={"max_retries": 0})
    settings = found.settings.model_copy(update={"client": client})
    return SettingsContext(profile=found.profile, settings=settings)


class ReadableErrors(logging.Filter):
    """Shows our own errors as what they are: the whole block once, where the task failed, and no stack of calls.

    A task that has done what its name says needs no line for that. Prefect logs an exception with its stack where the
    task fails, again where the flow fails, and again where the process ends: a hundred lines around the four that
    matter. Other exceptions keep their stacks: those are bugs.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is shown; change it where it is about one of our errors."""
        if record.name == "prefect.task_runs" and record.getMessage() == "Finished in state Completed()":
            return False
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, SlipwayError):
            return True
        text = error.block() if record.name == "prefect.task_runs" else error.block().splitlines()[0]
        record.msg, record.args, record.exc_info, record.exc_text = text, (), None, None
        return record.name != "prefect.engine"


for _name in ("prefect.task_runs", "prefect.flow_runs", "prefect.engine"):
    logging.getLogger(_name).addFilter(ReadableErrors())
