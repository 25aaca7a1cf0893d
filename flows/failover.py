"""Have another site serve because the one that serves is down."""

from prefect import flow
from prefect.runtime import flow_run

from blocks.estate import open_estate
from tasks.common.moves import MoveKind
from tasks.failover import asking_steps, ending_steps, steps
from tasks.failover.request import FailoverRequest


def _run_name() -> str:
    request = FailoverRequest.model_validate(flow_run.parameters["request"])
    return f"failover of {request.failover}"


@flow(name="failover", flow_run_name=_run_name)
def failover(request: FailoverRequest) -> None:
    """Have another site of the residency zone serve (DR-2): fence the old one first, promote, point users, validate.

    Where it cannot be shown that the old site takes no writes, nothing is promoted without a person's word in writing.
    Running it again after a crash carries it on. The old site is left alone; `failback` brings it back.
    """
    with ending_steps.moving(open_estate(request.estate), request, MoveKind.FAILOVER) as work:
        steps.decide(work)
        asking_steps.ask(work)
        asking_steps.require_approval(work)
        move(work)


def move(work: steps.Moving) -> None:
    """The new site serves: what every move has in common, in the order that nothing may change."""
    steps.on_record(work)
    with ending_steps.taken_back_on_failure(work):
        steps.make_ready(work)
        steps.fence(work)
        steps.catch_up(work)
        steps.promote(work)
        steps.let_in(work)
        steps.point(work)
        steps.validate(work)
        steps.follow(work)
