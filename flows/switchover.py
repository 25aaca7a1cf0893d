"""Have another site serve, planned: for maintenance, or to take a move back that has promoted nobody."""

from prefect import flow
from prefect.runtime import flow_run

from blocks.estate import open_estate
from flows.failover import move
from tasks.common.moves import MoveKind
from tasks.failover import asking_steps, ending_steps, steps
from tasks.failover.request import MoveRequest


def _run_name() -> str:
    request = MoveRequest.model_validate(flow_run.parameters["request"])
    return f"switchover of {request.failover} to {request.to}"


@flow(name="switchover", flow_run_name=_run_name)
def switchover(request: MoveRequest) -> None:
    """Have another site serve without losing anything: the old one stops to write, and follows in the end.

    If anything fails before the promotion, which is the point of no return, the old site serves again.
    """
    with ending_steps.moving(open_estate(request.estate), request, MoveKind.SWITCHOVER) as work:
        steps.decide(work)
        asking_steps.ask(work)
        asking_steps.require_approval(work)
        move(work)
