"""What the Prefect server knows of a run that an alarm is about."""

from uuid import UUID

from prefect.exceptions import ObjectNotFound

from blocks.orchestrator import asking
from tasks.common.run_steps import page_of
from tasks.common.schedules import DEPLOYMENT
from tasks.notify.alarms import Run


def find_run(run_id: str) -> Run | None:
    """Return a run; None where the server does not know it.

    Raises:
        Retryable: the Prefect server does not answer.
    """
    with asking() as client:
        try:
            found = client.read_flow_run(UUID(run_id))
            flow = client.read_flow(found.flow_id).name
            deployment = client.read_deployment(found.deployment_id).name if found.deployment_id else DEPLOYMENT
        except (ObjectNotFound, ValueError):
            return None
    asked = found.parameters.get("request")
    about = asked if isinstance(asked, dict) else {}
    return Run(
        id=str(found.id),
        name=found.name,
        flow=flow,
        said=(found.state.message or "") if found.state is not None else "",
        service=str(about.get("service", "")),
        environment=str(about.get("environment", "")),
        schedule=deployment if deployment != DEPLOYMENT else "",
        link=page_of(str(found.id)),
    )
