"""Bring a database's migrations through a phase."""

from prefect import flow
from prefect.runtime import flow_run

from blocks.estate import open_estate
from tasks.common.migrations import up_to
from tasks.migration import contract_steps, ending_steps, steps
from tasks.migration.request import MigrateRequest


def _run_name() -> str:
    request = MigrateRequest.model_validate(flow_run.parameters["request"])
    return f"migrate {request.service} in {request.environment} through {request.through}"


@flow(name="migrate", flow_run_name=_run_name)
def migrate(request: MigrateRequest) -> None:
    """Bring every migration through a phase, the oldest first (MIG-1, MIG-2).

    Running it again after a crash goes on from what the database's own history says. A server that is not well holds
    it: the run ends its process, and comes back. What this run has begun is taken back where it fails. The old shape
    goes only where no code needs it any more, and nobody can go back to code that does.
    """
    with ending_steps.migrating(open_estate(request.estate), request) as work:
        steps.read_migrations(work)
        names = steps.look(work)
        with contract_steps.permitted(work), steps.alone(work), ending_steps.taken_back_on_failure(work):
            for name in names:
                for phase in up_to(request.through):
                    steps.carry_through(work, name, phase)
