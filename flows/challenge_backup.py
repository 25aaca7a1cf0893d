"""Damage copies of a backup on purpose, and show that its verification finds it."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from blocks.estate import open_estate
from tasks.challenge import steps
from tasks.challenge.conclude_steps import conclude
from tasks.challenge.model import ON_COPY, ON_SOURCE
from tasks.challenge.request import ChallengeRequest
from tasks.common.schedule_steps import end_if_left_out
from tasks.expectations.steps import read_expectations


def _run_name() -> str:
    return f"challenge {ChallengeRequest.model_validate(flow_run.parameters['request']).plan}"


@flow(name="challenge-backup", flow_run_name=_run_name)
def challenge_backup(request: ChallengeRequest) -> State | None:
    """Every damage that can be made is found by the verification of the plan, on this machine, with these engines.

    The repository and the source are only read. A damage that is not found fails the run; so does an undamaged copy
    that is not sound, since finding damage proves nothing then.
    """
    estate = open_estate(request.estate)
    left_out = end_if_left_out(estate)
    if left_out is not None:
        return left_out
    evaluate = read_expectations(estate, request.plan)
    with steps.challenging(estate, request, evaluate) as work:
        steps.copy_repository(work)
        steps.climb_undamaged(work)
        for fault in ON_COPY:
            steps.damage_copy(work, fault)
        with steps.throw_away_source(work):
            steps.climb_unspoiled(work)
            for fault in ON_SOURCE:
                steps.spoil_source(work, fault)
        conclude(work)
    return None
