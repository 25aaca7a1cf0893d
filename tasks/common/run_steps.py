"""Runs on the Prefect server: started, asked about, cancelled, answered. Only these few calls know its client."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelling
from prefect.utilities.urls import url_for
from pydantic import BaseModel

from blocks.orchestrator import asking
from tasks.common.errors import Refused
from tasks.common.schedules import DEPLOYMENT

_CONFLICT = 409
_RUNS_AT_ONCE = 200


def start_run(flow: str, request: BaseModel | Mapping[str, str], *, key: str | None = None) -> str:
    """A run of the flow's deployment is scheduled; returns its id.

    The server checks what is asked for against the flow's form.

    *Idempotent:* with a key: the second call with the same one returns the first run.

    Raises:
        Refused: the flow is not deployed, or the server refuses the parameters.
        Retryable: the Prefect server does not answer.
    """
    with asking() as client:
        try:
            deployment = client.read_deployment_by_name(f"{flow}/{DEPLOYMENT}")
        except ObjectNotFound as error:
            raise Refused(
                f"the flow {flow} is not deployed",
                on="the Prefect server",
                next_action="'slipway up' deploys it to the lab; elsewhere run 'slipway apply'",
            ) from error
        asked = request.model_dump() if isinstance(request, BaseModel) else dict(request)
        parameters = {"request": asked}
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters, idempotency_key=key)
    return str(run.id)


def state_of(run_id: str) -> State | None:
    """Return a run's state; None where the server does not know the run.

    Raises:
        Retryable: the Prefect server does not answer.
    """
    with asking() as client:
        try:
            return client.read_flow_run(UUID(run_id)).state
        except (ObjectNotFound, ValueError):
            return None


def states_of(run_ids: Sequence[str]) -> dict[str, str]:
    """Return the types of runs' states ('COMPLETED', 'PAUSED' ...) by id, without runs that the server does not know.

    Raises:
        Retryable: the Prefect server does not answer.
    """
    ids = [UUID(each) for each in run_ids]
    found: dict[str, str] = {}
    with asking() as client:
        for start in range(0, len(ids), _RUNS_AT_ONCE):
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=ids[start : start + _RUNS_AT_ONCE]))
            for run in client.read_flow_runs(flow_run_filter=wanted, limit=_RUNS_AT_ONCE):
                found[str(run.id)] = run.state.type.value if run.state is not None else "SCHEDULED"
    return found


def cancel_run(run_id: str, why: str) -> bool:
    """The run is told to stop, and returns True; False where the server does not know it. *Idempotent:* yes.

    A run that is at work turns its release back first. One that is suspended is cancelled at once.

    Raises:
        Retryable: the Prefect server does not answer.
    """
    with asking() as client:
        try:
            client.set_flow_run_state(UUID(run_id), Cancelling(message=why))
        except (ObjectNotFound, ValueError):
            return False
    return True


def page_of(run_id: str) -> str:
    """Return the address of a run's page in the Prefect UI; '' where no server is known."""
    return url_for("flow-run", obj_id=run_id) or ""


def answer_run(run_id: str, answer: dict[str, str]) -> None:
    """The suspended run has its answer and is scheduled to go on. *Idempotent:* no; a second answer is refused.

    Raises:
        Refused: the run is not known, does not wait for an answer, waits no longer, or the answer is not a valid one.
        Retryable: the Prefect server does not answer.
    """
    on = f"run {run_id}"
    with asking() as client:
        try:
            # Asked for first: to resume a run that it does not know is an error of the server's own (Prefect 3.8).
            known = client.read_flow_run(UUID(run_id))
            result = client.resume_flow_run(known.id, run_input=answer)
        except (ObjectNotFound, ValueError) as error:
            raise Refused(
                "the Prefect server does not know this run",
                on=on,
                next_action="'slipway releases list' shows the runs; give the whole id",
            ) from error
        except PrefectHTTPStatusError as error:
            if error.response.status_code != _CONFLICT:
                raise
            raise Refused(
                "somebody else has answered at the same moment",
                on=on,
                state="that answer was taken, this one was not",
                next_action="'slipway releases show' says what was answered, and by whom",
            ) from error
    if result.status is SetStateStatus.ACCEPT:
        return
    reason = getattr(result.details, "reason", None) or result.status.value
    raise Refused(
        f"the answer was not taken: {reason}",
        on=on,
        state="the run is as it was",
        next_action="'slipway releases show' says whether it still waits, and for what; an answer that comes too late "
        "does not count: release again",
    )
