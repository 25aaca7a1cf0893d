"""Break something on purpose, watch what becomes of it, put it right, and measure."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from blocks.estate import open_estate
from tasks.common.schedule_steps import end_if_left_out
from tasks.drill import asking_steps, fault_steps, steps, watch_steps
from tasks.drill.request import DrillRequest


def _run_name() -> str:
    return f"practise {DrillRequest.model_validate(flow_run.parameters['request']).drill}"


@flow(name="drill", flow_run_name=_run_name)
def drill(request: DrillRequest) -> State | None:
    """Practise a failure, and measure how long users were without service and what they lost (DR-4).

    Nothing is broken unless all is well, and everything is undone afterwards: by this run, or by the reaper if it dies.
    A drill whose outcome is not the expected one, or that misses an objective, fails the run.
    """
    estate = open_estate(request.estate)
    left_out = end_if_left_out(estate)
    if left_out is not None:
        return left_out
    with steps.drilling(estate, request) as work:
        steps.require_gate(work)
        planned = steps.plan(work)
        if work.dry:
            return None
        if work.asks:
            asking_steps.ask(work)
            asking_steps.require_approval(work, planned)
        with steps.no_release_runs(work):
            for number in range(1, request.repeat + 1):
                practise(work, number)
        asking_steps.require_passed(work)
    return None


def practise(work: steps.Drilling, number: int) -> None:
    """One round: steady, broken, watched, mended, counted. Who is the leader is looked up anew."""
    steps.require_gate(work)
    planned = steps.plan(work)
    with steps.client_sends(work, number):
        watch_steps.see_steady_state(work)
        with fault_steps.undone_afterwards(work):
            fault_steps.inject(work, planned)
            watch_steps.watch(work)
        watch_steps.see_recovered(work)
    watch_steps.measure(work)
