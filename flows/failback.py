"""Have a site serve again that was failed over from: rebuilt as a standby first, then a switchover."""

from prefect import flow
from prefect.runtime import flow_run

from blocks.estate import open_estate
from flows.failover import move
from tasks.common.moves import MoveKind
from tasks.failover import asking_steps, ending_steps, steps
from tasks.failover.request import MoveRequest


def _run_name() -> str:
    request = MoveRequest.model_validate(flow_run.parameters["request"])
    return f"failback of {request.failover} to {request.to}"


@flow(name="failback", flow_run_name=_run_name)
def failback(request: MoveRequest) -> None:
    """Rebuild a site as a standby after a person's yes, let it catch up while users are served, then switch over.

    What only that site has, such as writes that were lost by the failover, is thrown away.
    """
    with ending_steps.moving(open_estate(request.estate), request, MoveKind.FAILBACK) as work:
        steps.decide(work)
        asking_steps.ask(work)
        asking_steps.require_approval(work)
        move(work)
