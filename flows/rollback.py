"""Return to a release that is kept."""

from prefect import flow
from prefect.runtime import flow_run

from flows.rollout import AT_ONCE, end_abandoned, open_rollout, roll_out, verify_features
from tasks.migration.release_steps import require_way_back
from tasks.release.lease_steps import take_leases
from tasks.release.open_steps import open_rollback, recorded
from tasks.release.request import RollbackRequest
from tasks.rollout.turn_back_steps import turned_back_on_failure


def _run_name() -> str:
    request = RollbackRequest.model_validate(flow_run.parameters["request"])
    return f"{request.service} back to {request.to[:7] or 'the release before'} in {request.environment}"


@flow(name="rollback", flow_run_name=_run_name)
def rollback(request: RollbackRequest) -> None:
    """Return to a release that is kept, without a rebuild: place, prove without traffic, shift everything at once.

    A release that is at work here is cancelled first; it turns itself back.

    One that needs what a migration has removed is refused before anything is touched.

    If the kept release cannot be proven, what serves now keeps serving. Once the traffic has moved it stays: going
    forward again to a release that somebody has just left is a decision for a person.
    """
    job = open_rollback(request)
    with recorded(job):
        require_way_back(job, request.accept_contract)
        take_leases(job)
        # Until the lease was ours, a migration may have gone on.
        require_way_back(job, request.accept_contract)
        end_abandoned(job)
        rollout = open_rollout(job, job.environment, AT_ONCE)
        with turned_back_on_failure(job, rollout):
            roll_out(job, rollout)
        verify_features(job, rollout)
