"""The command `slipway recover`: a whole service is brought back after everything was lost."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.restore_command import FAILED, exit_of
from deployments.shown import print_json
from deployments.terminal import Estate, Json, connect, err, out, who

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
    plan_only: Annotated[bool, typer.Option("--plan", help="say what would be done, and change nothing")] = False,
    estate: Estate = "",
    wait: Annotated[bool, typer.Option(help="follow the run to its end, or only start it")] = True,
    as_json: Json = False,
) -> None:
    """Bring a whole service back where nothing is left: its data, its last proven release, its traffic, its names."""
    connect(estate)
    from tasks.common.run_steps import start_run
    from tasks.recover.request import RecoverRequest

    request = RecoverRequest(
        service=service,
        environment=environment,
        plans=plan or [],
        release=release,
        site=site,
        estate=os.environ.get("SLIPWAY_ESTATE", ""),
        requested_by=who(),
    )
    if plan_only:
        _show_plan(request, as_json)
        return
    run_id = start_run("recover", request)
    if not wait:
        print_json({"run": run_id}) if as_json else out.print(f"started run {run_id}")
        return
    _follow(run_id, as_json)


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
    for number, step in enumerate(steps, start=1):
        out.print(f"{number:>2}. {step}", markup=False, soft_wrap=True)


def _follow(run_id: str, as_json: bool) -> None:
    from deployments import runs

    err.print(f"run {run_id}", style="dim")
    say = (lambda text: None) if as_json else (lambda text: out.print(text, markup=False, style="dim"))
    ended = runs.follow(run_id, say)
    why = "" if ended.completed else FAILED.sub("", ended.message)
    if as_json:
        print_json(asdict(ended))
    else:
        out.print(f"\nrecovery: {ended.state}", markup=False)
        if why:
            out.print(why, markup=False)
    if not ended.completed:
        raise typer.Exit(exit_of(why))
