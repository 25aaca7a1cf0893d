"""Restore a backup, or a point in time, into a server."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from blocks.estate import open_estate
from flows.verify_backup import climb
from tasks.common.schedule_steps import end_if_left_out
from tasks.expectations.steps import read_expectations
from tasks.restore import asking_steps, ending_steps, steps
from tasks.restore.request import RestoreRequest
from tasks.verification import steps as verification
from tasks.verification.request import VerifyRequest


def _run_name() -> str:
    request = RestoreRequest.model_validate(flow_run.parameters["request"])
    return f"{request.plan} into {request.to}"


@flow(name="restore", flow_run_name=_run_name)
def restore(request: RestoreRequest) -> State | None:
    """Restore a backup or a point in time into a target (BAK-4); what is there gives way only after a person's yes.

    The backup is proven before anybody is asked; what was there is put aside, and brought back if anything fails.
    Running it again after a crash first puts right what that has left. Nobody reaches the server before it is whole.
    """
    estate = open_estate(request.estate)
    left_out = end_if_left_out(estate)
    if left_out is not None:
        return left_out
    with ending_steps.restoring(estate, request) as work:
        if steps.settle_dead_run(work):
            return None
        steps.decide(work)
        if work.asks:
            prove(work)
            ask(work)
        with steps.nothing_expires(work), ending_steps.brought_back_on_failure(work):
            steps.put_aside(work)
            steps.fetch(work)
            steps.recover(work)
            steps.mask(work)
            steps.open_to_users(work)
    return None


def prove(work: steps.Restoring) -> None:
    """What would be restored was restored into the plan's scratch server by this run, and is right (VER-1).

    It is not compared with the source as it is now: what is wrong there may be why it is restored.
    """
    if asking_steps.proven(work) is not None:
        return
    evaluate = read_expectations(work.estate, work.request.plan)
    asked = VerifyRequest(plan=work.request.plan, which=work.picked.entry.id, estate=work.request.estate)
    with work.step("prove the backup"), verification.verifying(work.estate, asked, work.picked.to) as found:
        verification.check_repository(found)
        with verification.scratch_server(found):
            climb(found, evaluate)
        verification.conclude(found)


def ask(work: steps.Restoring) -> None:
    """A person has said yes."""
    asking_steps.ask(work)
    asking_steps.require_approval(work)
