"""Take a database's newest migration back."""

from prefect import flow
from prefect.runtime import flow_run

from blocks.estate import open_estate
from tasks.migration import contract_steps, ending_steps, steps
from tasks.migration.request import UndoRequest


def _run_name() -> str:
    request = UndoRequest.model_validate(flow_run.parameters["request"])
    return f"undo {request.name} of {request.service} in {request.environment}"


@flow(name="undo-migration", flow_run_name=_run_name)
def undo_migration(request: UndoRequest) -> None:
    """Take the newest migration back, which is possible until its point of no return. Run again, it goes on.

    One that code which serves has is left as it is.
    """
    estate = open_estate(request.estate)
    with ending_steps.migrating(estate, request) as work, contract_steps.unused(work), steps.alone(work):
        steps.undo(work, request.name)
