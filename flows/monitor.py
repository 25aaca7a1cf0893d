"""Look at what serves an environment as its users see it."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from blocks.estate import open_estate
from tasks.common.schedule_steps import end_if_left_out
from tasks.monitor.request import MonitorRequest
from tasks.monitor.steps import look


def _run_name() -> str:
    request = MonitorRequest.model_validate(flow_run.parameters["request"])
    return f"{request.service} in {request.environment}: {request.checks}"


@flow(name="monitor", flow_run_name=_run_name)
def monitor(request: MonitorRequest) -> State | None:
    """Look at what serves an environment as its users see it: by the requests that its service file names.

    It changes nothing. A run that fails is told to people by an automation, as is one that does not come.
    """
    estate = open_estate(request.estate)
    left_out = end_if_left_out(estate)
    if left_out is None:
        look(estate, request)
    return left_out
