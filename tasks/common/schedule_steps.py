"""Whether a run that was started by the clock still has work to do."""

from datetime import UTC, datetime
from uuid import UUID

from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.logging import get_run_logger
from prefect.runtime import deployment, flow_run
from prefect.states import Completed

from blocks.estate import OpenEstate
from blocks.orchestrator import asking
from tasks.common.schedules import left_out

LEFT_OUT = "LeftOut"
"""Name of the state of a run that had nothing to do; it is no success, so an alarm for a missing one goes out."""


def end_if_left_out(estate: OpenEstate) -> State | None:
    """Return the state in which a run ends that is not to do its work; None where it is.

    What a person has started is never left out. A run of no schedule of the estate is not, either. Of several that
    were missed, the one that begins first works, whichever it is: so it does not matter in which order the worker takes
    them, nor which of them a limit cancels.

    Raises:
        Retryable: the Prefect server does not answer.
    """
    schedule = estate.file.schedules.get(str(deployment.name))
    if schedule is None or flow_run.id is None:
        return None
    with asking() as client:
        due_at = _due_at(client.read_flow_run(UUID(flow_run.id)))
        if due_at is None:
            return None
        others = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[UUID(str(deployment.id))])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.COMPLETED])),
                start_time=FlowRunFilterStartTime(after_=due_at),
            ),
        )
    made_up_for = any(str(each.id) != flow_run.id and each.state_name != LEFT_OUT for each in others)
    why = left_out(schedule, estate.file.windows, due_at, datetime.now(UTC), made_up_for=made_up_for)
    if not why:
        return None
    get_run_logger().warning("left out: %s", why)
    return Completed(name=LEFT_OUT, message=why)


def _due_at(run: FlowRun) -> datetime | None:
    """Return when the clock wanted it; None where a person did.

    Its expected start says something else by now where it has waited for the run before it. The key that the server
    gives it does not change: it ends with that time (Prefect 3.8).
    """
    if not run.auto_scheduled or not run.idempotency_key:
        return None
    return datetime.fromisoformat(run.idempotency_key.split(" ", 3)[3]).astimezone(UTC)
