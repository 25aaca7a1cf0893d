"""The command `slipway apply`."""

from dataclasses import asdict
from typing import Annotated

import typer

from deployments.shown import print_json
from deployments.terminal import Estate, Exit, Json, connect, out


def apply(
    estate: Estate = "",
    only_plan: Annotated[bool, typer.Option("--plan", help="say what would be changed, and change nothing")] = False,
    as_json: Json = False,
) -> None:
    """Bring the Prefect server to what the estate file wants: deployments, schedules, limits, automations."""
    connect(estate)
    from blocks.estate import open_estate
    from blocks.server import PrefectServer
    from deployments.applying import carry_out, survey

    file, server = open_estate().file, PrefectServer()
    planned = survey(file, server)
    if as_json:
        print_json(asdict(planned))
    else:
        for each in planned.stopped:
            out.print(f"left as it is: somebody has stopped {each}", style="yellow", markup=False)
        for change in planned.changes if only_plan else ():
            out.print(str(change), markup=False)
            for line in change.differences:
                out.print(f"    {line}", markup=False, style="dim")
    if not only_plan:
        carry_out(file, server, planned, lambda text: None if as_json else out.print(text, markup=False))
    if not as_json:
        count = len(planned.changes)
        out.print(f"{count} {'change' if count == 1 else 'changes'}{' to be made' if only_plan else ''}")
    if only_plan and planned.changes:
        raise typer.Exit(Exit.DIFFERS)
