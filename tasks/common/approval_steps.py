"""How a run asks a person: it suspends, and no process is held; it comes back to the question when it is resumed."""

import math
import re
from datetime import UTC, datetime
from typing import Literal

import httpx
from prefect import suspend_flow_run
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.input import RunInput
from prefect.runtime import deployment
from pydantic import Field, ValidationError

from tasks.common.errors import Refused, Retryable


class Decision(RunInput):
    """The form in the Prefect UI, and what `slipway approve` and `slipway reject` send."""

    decision: Literal["approve", "reject"] = Field(
        description="approve: go on. reject: end it, and roll back what is out"
    )
    reason: str = Field(pattern=r"\S[\s\S]*\S", description="why; it is kept on record")
    name: str = Field(pattern=r"\S", description="who you are, for the record; this server cannot check it")


def require_answer(text: str, before: str, expires_at: datetime, on: str, again: str, late: Refused) -> Decision:
    """Return what a person has said. The first time the run is suspended here, and ends its process.

    Args:
        text: the form's text, as Markdown without secrets; only that of the first time is shown.
        before: before what it is asked; a run asks before each place once.
        expires_at: no answer counts after that.
        on: what the run is about, for errors.
        again: how it is started once more: 'release again'.
        late: raised where the time was over before anybody could answer.

    Raises:
        Refused: only a run of a deployment can be suspended, or it was set going without an answer.
        Retryable: the Prefect server does not let the run be suspended.
        prefect.exceptions.Pause: the run is suspended.
    """
    left_s = (expires_at - datetime.now(UTC)).total_seconds()
    # Prefect takes no late answer. One that came in time counts, however long the run had to wait for a worker.
    if left_s <= 0 and not _was_suspended(before):
        raise late
    if deployment.get_id() is None:
        raise Refused(
            "only a run of a deployment can be suspended to wait for an answer",
            on=on,
            next_action="start it from the command line, or in the Prefect UI",
        )
    form = Decision.with_initial_data(description=text)
    try:
        return suspend_flow_run(wait_for_input=form, timeout=max(1, math.ceil(left_s)), key=_key(before))
    except ValidationError as error:
        raise Refused(
            "it was set going without an answer",
            on=f"{on}, before {before}",
            next_action=f"{again}, and answer by 'slipway approve' or the form behind 'Resume' in the Prefect UI",
        ) from error
    except (httpx.HTTPError, PrefectException, RuntimeError) as error:
        raise Retryable(
            f"the run cannot be suspended: {type(error).__name__}: {error}",
            on="the Prefect server",
            next_action=f"look at the server, then {again}",
        ) from error


def _was_suspended(before: str) -> bool:
    """Return whether this run has been suspended before that place, and so was set going again since."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run is not None and _key(before) in (run.empirical_policy.pause_keys or ())


def _key(before: str) -> str:
    """Return the question's name for Prefect, which takes lower-case letters, digits and dashes: 'approve-0-1'."""
    return "approve-" + re.sub(r"[^a-z0-9]+", "-", before.lower()).strip("-")
