"""Make partitions ahead, and let the old ones go."""

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.estate import open_estate
from tasks.common.schedule_steps import end_if_left_out
from tasks.migration import partition_steps
from tasks.migration.request import PartitionsRequest


@flow(name="partitions", flow_run_name="partitions")
def partitions(request: PartitionsRequest | None = None) -> State | None:
    """Every table that the estate file names has its partitions ahead, and those that are too old have left (MIG-3).

    Meant for every day. What goes wrong with one table or database keeps no other from its partitions, and is told in
    the end.
    """
    estate = open_estate(request.estate if request is not None else "")
    left_out = end_if_left_out(estate)
    if left_out is None:
        found = [partition_steps.keep_up(estate, each) for each in partition_steps.databases(estate, request)]
        partition_steps.require_all_well(found)
    return left_out
