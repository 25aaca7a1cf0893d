"""What a month of releases comes to."""

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.estate import open_estate
from tasks.common.schedule_steps import end_if_left_out
from tasks.release.month_steps import aggregate_month
from tasks.release.request import AggregateRequest


@flow(name="aggregate", flow_run_name="aggregate")
def aggregate(request: AggregateRequest | None = None) -> State | None:
    """What a month of releases comes to is an artifact: how many, how many went bad, for how long. Changes nothing."""
    wanted = request or AggregateRequest()
    estate = open_estate(wanted.estate)
    left_out = end_if_left_out(estate)
    if left_out is None:
        aggregate_month(estate, wanted)
    return left_out
