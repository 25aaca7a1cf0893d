"""How a run of migrations ends: done, held for a while, or failed and taken back. A part of `steps`."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.logging import get_run_logger
from prefect.runtime import deployment
from prefect.states import AwaitingRetry

from blocks.estate import OpenEstate
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.migrations import PHASES, Phase
from tasks.migration.conduct import OnHold
from tasks.migration.request import MigrateRequest, UndoRequest
from tasks.migration.steps import Migrating, open_work, show_status, undo


@contextmanager
def migrating(estate: OpenEstate, request: MigrateRequest | UndoRequest) -> Iterator[Migrating]:
    """The run works on the database within the block; where it is held, it ends its process and comes back later.

    Raises:
        Refused: the estate names no such database.
        prefect.exceptions.Pause: it is held, and its worker is free.
    """
    work = open_work(estate, request)
    try:
        yield work
    except OnHold as hold:
        _suspend(work, hold)
    finally:
        if work.written:
            show_status(work)


@contextmanager
def taken_back_on_failure(work: Migrating) -> Iterator[None]:
    """What this run has begun of a migration that fails is taken back, as the estate file says (MIG-2).

    What was to be retried stays: locks that were not to be had, a lost connection, a limit. So does what the code that
    runs may use already: phases that were done before this run.

    Raises:
        Unsafe: it could not be taken back.
    """
    try:
        yield
    except Refused as error:
        name = work.current
        if not name:
            raise
        attempt = work.target.observe().attempt(name)
        if attempt is None or work.engine is None:
            raise
        if attempt.standing.past_return or work.spec.on_failure == "stay":
            work.engine.fail(name, error.what)
            raise
        keep = work.begun.get(name)
        get_run_logger().error("%s has failed: %s; taking back what this run has begun", name, error.what)
        _take_back(work, name, keep, error)
        raise Refused(
            error.what, on=error.on, state=_state(name, keep), next_action=error.next_action, facts=error.facts
        ) from error


def _take_back(work: Migrating, name: str, keep: Phase | None, error: SlipwayError) -> None:
    try:
        undo(work, name, keep)
    except SlipwayError as failed:
        assert work.engine is not None, "called within `alone`"
        work.engine.fail(name, f"{error.what}; and it could not be undone: {failed.what}")
        raise Unsafe(
            f"{name} has failed, and could not be undone: {failed.what}",
            on=failed.on,
            state=f"it is half undone; {failed.state}",
            next_action=f"{failed.next_action}; then: slipway migration undo {name}",
            facts={"failed with": error.what, **failed.facts},
        ) from error


def _state(name: str, keep: Phase | None) -> str:
    if keep is None:
        return f"{name} was undone: the database is as it was before it"
    later = ", ".join(PHASES[PHASES.index(keep) + 1 :])
    return f"{later} of {name} were undone; {keep} and what is before it stay"


def _suspend(work: Migrating, hold: OnHold) -> None:
    """The run has no process any more, and is started again by itself when the hold is over.

    Raises:
        prefect.exceptions.Pause: always, where it is so.
        Retryable: only a run of a deployment can be.
    """
    until = datetime.now(UTC) + timedelta(seconds=work.spec.health.hold_s)
    if deployment.get_id() is None:
        raise Retryable(
            str(hold),
            on=str(work),
            state="what was done stays, and is on record",
            next_action="run this again when the server is well: it goes on from there",
        ) from hold
    get_run_logger().warning("%s; it is looked at again at %s UTC", hold, f"{until:%H:%M:%S}")
    state: State[None] = AwaitingRetry(scheduled_time=until, message=str(hold))
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(work.run_id), state, force=True)
    raise Pause(state=state)
