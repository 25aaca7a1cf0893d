"""Bring a whole service back after everything was lost."""

from prefect import flow
from prefect.runtime import flow_run

from blocks.estate import open_estate
from flows.restore import restore
from flows.rollback import rollback
from tasks.recover import steps
from tasks.recover.request import RecoverRequest
from tasks.release.request import RollbackRequest
from tasks.restore.request import RestoreRequest


def _run_name() -> str:
    request = RecoverRequest.model_validate(flow_run.parameters["request"])
    return f"recover {request.service} in {request.environment}"


@flow(name="recover", flow_run_name=_run_name)
def recover(request: RecoverRequest) -> None:
    """Bring a service back where nothing is left (DR-5): data, then the last proven release, its traffic, its names.

    The data comes first, so that no user meets an empty database. What is there already is refused, never replaced. A
    release that is kept is deployed as a rollback is: nothing is built, it is proven without traffic before it has any.
    """
    with steps.recovering(open_estate(request.estate), request) as work:
        steps.decide(work)
        for plan, to in work.back.restores:
            with work.step(f"restore {plan} into {to}"):
                restore(RestoreRequest(plan=plan, to=to, estate=request.estate, requested_by=request.requested_by))
        with work.step(f"deploy {work.back.release[:7]}, and give it the traffic"):
            rollback(deployment(work))
        steps.point(work)
        steps.visit(work)


def deployment(work: steps.Recovering) -> RollbackRequest:
    """Return what deploys the release that is kept."""
    asked = work.request
    return RollbackRequest(
        service=asked.service,
        environment=asked.environment,
        estate=asked.estate,
        requested_by=asked.requested_by,
        to=work.back.release,
        reason="everything was lost",
    )
