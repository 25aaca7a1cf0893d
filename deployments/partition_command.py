"""The command `slipway migration partitions`: partitions are made ahead, and the old ones leave."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from deployments.following import Wait, run_to_end
from deployments.terminal import Estate, Exit, Json, connected, estate_path, out, who


def partitions(
    service: Annotated[str, typer.Argument(help="name of the service")],
    environment: Annotated[str, typer.Option("--in", help="environment whose database is meant")] = "production",
    plan: Annotated[bool, typer.Option("--plan", help="print what would be done; nothing is changed")] = False,
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Make the partitions of tables of time ranges ahead, and let the old ones go; also meant for every day."""
    opened = connected(estate)
    spec, on = opened.migrated(service, environment), f"{service} in {environment}"
    from tasks.migration.partition_steps import databases
    from tasks.migration.request import PartitionsRequest

    request = PartitionsRequest(service=service, environment=environment, estate=estate_path(), requested_by=who())
    databases(opened, request)
    if plan:
        from tasks.migration.partition_report import plan_report
        from tasks.migration.require import Wanted
        from tasks.migration.upkeep import plans

        target = opened.partitions(service, environment)
        found = plans(target, spec.partitions, Wanted.of(spec), on, datetime.now(UTC))
        out.print(plan_report(found), markup=False, soft_wrap=True)
        if any(each.problems for each in found):
            raise typer.Exit(Exit.FAILED)
        return
    run_to_end("partitions", request, f"partitions of {on}", wait, as_json)
