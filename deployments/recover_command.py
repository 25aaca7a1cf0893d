"""The command `slipway recover`: a whole service is brought back after everything was lost."""

from typing import TYPE_CHECKING, Annotated

import typer

from deployments.following import PlanOnly, Wait, run_to_end, show_steps
from deployments.shown import print_json
from deployments.terminal import Estate, Json, connect, estate_path, who

if TYPE_CHECKING:
    from tasks.recover.request import RecoverRequest


def recover(
    service: Annotated[str, typer.Argument(help="name of the service, as in the estate file")],
    environment: Annotated[str, typer.Option("--in", help="where it is to serve")] = "production",
    plan: Annotated[
        list[str] | None, typer.Option("--data", help="backup plan, in this order; default: all with a source target")
    ] = None,
    release: Annotated[str, typer.Option(help="default: the last one that succeeded there")] = "",
    site: Annotated[str, typer.Option(help="region that the names are pointed to; default: they stay")] = "",
    plan_only: PlanOnly = False,
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Bring a whole service back where nothing is left: its data, its last proven release, its traffic, its names."""
    connect(estate)
    from tasks.recover.request import RecoverRequest

    request = RecoverRequest(
        service=service,
        environment=environment,
        plans=plan or [],
        release=release,
        site=site,
        estate=estate_path(),
        requested_by=who(),
    )
    if plan_only:
        _show_plan(request, as_json)
        return
    run_to_end("recover", request, "recovery", wait, as_json, answered=True)


def _show_plan(request: "RecoverRequest", as_json: bool) -> None:
    from blocks.estate import open_estate
    from tasks.recover.steps import found

    back = found(open_estate(request.estate), request)
    steps = [f"restore the newest sound backup of {plan} into {to}" for plan, to in back.restores]
    steps.append(f"deploy release {back.release[:7]}, prove it without traffic, and give it all traffic")
    if request.site:
        steps.append(f"point the names to {request.site}")
    steps.append(f"visit {request.service} in {request.environment} as a user")
    if as_json:
        print_json({"steps": steps})
        return
    show_steps(steps)
