"""Take a database's newest migration back."""

from prefect import flow
from prefect.runtime import flow_run

from blocks.estate import open_estate
from tasks.migration import ending_steps, steps
from tasks.migration.request import UndoRequest


def _run_name() -> str:
    request = UndoRequest.model_validate(flow_run.parameters["request"])
    return f"undo {request.name} of {request.service} in {request.environment}"


@flow(name="undo-migration", flow_run_name=_run_name)
def undo_migration(request: UndoRequest) -> None:
    """Take the newest migration back, which is possible until its point of no return. Run again, it goes on."""
    with ending_steps.migrating(open_estate(request.estate), request) as work, steps.alone(work):
        steps.undo(work, request.name)
