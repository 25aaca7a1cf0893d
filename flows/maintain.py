"""Tidy up, and look at everything that a release would need."""

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.estate import open_estate
from flows.checks import own_checks
from tasks.common.schedule_steps import end_if_left_out
from tasks.preflight.place_steps import look_over
from tasks.release.folder_steps import sweep
from tasks.release.request import MaintainRequest


@flow(name="maintain", flow_run_name="maintain")
def maintain(request: MaintainRequest | None = None) -> State | None:
    """Nothing is left of runs that have ended, and what a release would need is well: before anybody needs it.

    Certificates, disks, secrets, drivers and your own checks are looked at as preflight does. Meant for every night.
    """
    estate = open_estate(request.estate if request is not None else "")
    left_out = end_if_left_out(estate)
    if left_out is None:
        sweep(estate)
        look_over(estate, own_checks(estate))
    return left_out
