"""Sends Slipway's own events to the Prefect server."""

import logging
from collections.abc import Callable
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.events import emit_event
from prefect.logging import get_logger
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from tasks.common.events import Happened

_LOG: logging.Logger = get_logger("slipway")


def emit(happened: Happened, redact: Callable[[str], str]) -> None:
    """The event is on its way to the Prefect server, if there is one; nothing waits for it, and nothing fails by it.

    Prefect's own queue carries it, as it does the events of tasks, and attaches the run that sends it. It is sent until
    the process ends, and lost where the server does not take it by then: the ledger has what has happened.

    *Idempotent:* yes for the end of a run: the server drops an event with an id that it knows.

    Args:
        happened: the event.
        redact: applied to every text of the payload.
    """
    # Without an address, Prefect would start a server of its own for it.
    if PREFECT_API_URL.value() is None:
        return
    try:
        emit_event(
            happened.name,
            resource=happened.resource,
            related=_run_of(happened),
            payload=happened.payload(redact),
            id=_id_of(happened),
        )
    except Exception as problem:
        # Its text may hold what must not be shown.
        _LOG.warning("%s was not sent: unexpected %s", happened.name, type(problem).__name__)


def _run_of(happened: Happened) -> list[dict[str, str]]:
    """Return the run that it is about; the one that sends it is attached by Prefect, with its name."""
    if happened.run in ("", flow_run.get_id()) or not happened.of_a_run:
        return []
    return [{"prefect.resource.id": f"prefect.flow-run.{happened.run}", "prefect.resource.role": "flow-run"}]


def _id_of(happened: Happened) -> UUID | None:
    return uuid5(NAMESPACE_URL, f"{happened.name}/{happened.run}") if happened.ends_run else None
