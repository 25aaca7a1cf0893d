"""Restore a backup into a scratch server, and show that what came back is right."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from blocks.estate import open_estate
from tasks.backup.status_steps import status_shown
from tasks.common.schedule_steps import end_if_left_out
from tasks.expectations.steps import Evaluate, read_expectations
from tasks.verification import steps
from tasks.verification.request import VerifyRequest


def _run_name() -> str:
    request = VerifyRequest.model_validate(flow_run.parameters["request"])
    return f"{request.plan}: {request.which}"


@flow(name="verify-backup", flow_run_name=_run_name)
def verify_backup(request: VerifyRequest) -> State | None:
    """A backup is restored, what came back is shown to be right, and RPO and RTO are measured (VER-1).

    The source is only read. A rung that is broken fails the run, after the scratch server was removed.
    """
    estate = open_estate(request.estate)
    left_out = end_if_left_out(estate)
    if left_out is not None:
        return left_out
    evaluate = read_expectations(estate, request.plan)
    with status_shown(estate), steps.verifying(estate, request) as work:
        steps.observe_source(work)
        steps.check_freshness(work)
        steps.check_repository(work)
        with steps.scratch_server(work):
            climb(work, evaluate)
            steps.measure_rpo(work)
        steps.conclude(work)
    return None


def climb(work: steps.Verifying, evaluate: Evaluate | None) -> None:
    """The backup is restored into the open scratch server, and every rung is climbed that looks at what came back."""
    steps.restore(work)
    steps.check_pages(work)
    steps.check_structure(work)
    steps.read_all(work)
    steps.compare_schema(work)
    steps.compare_counts(work)
    steps.check_sequences(work)
    steps.check_foreign_keys(work)
    steps.check_expectations(work, evaluate)
