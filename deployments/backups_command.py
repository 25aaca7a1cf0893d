"""The command `slipway backups`: how well the data are backed up, which backups stay, and holds on them."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from deployments.shown import print_json
from deployments.terminal import As, Estate, Exit, Json, connect, out, who
from tasks.backup.report import HEAD, PLAN_HEAD, cells, plan_cells
from tasks.backup.retention import plan_retention
from tasks.backup.status import look
from tasks.common.errors import Refused

if TYPE_CHECKING:
    from blocks.estate import OpenEstate

app = typer.Typer(help="How well the data are backed up, and what is wrong; hold a backup, or let it go.")
Id = Annotated[str, typer.Argument(help="id of the backup, as 'backups --plan' shows it")]


@app.callback(invoke_without_command=True)
def backups(
    context: typer.Context,
    plan: Annotated[bool, typer.Option("--plan", help="show which backups stay, and why")] = False,
    estate: Estate = "",
    as_json: Json = False,
) -> None:
    """Show each plan: its newest backup, the newest that was verified, measured RPO and RTO, what is wrong."""
    if context.invoked_subcommand is not None:
        return
    opened = _open(estate)
    if not opened.file.backups:
        raise Refused(
            "nothing is backed up here",
            on=f"the estate {opened.file.estate}",
            next_action="describe a plan under backups of the estate file",
        )
    (_show_plan if plan else _show_status)(opened, as_json)


@app.command()
def hold(
    backup: Id,
    reason: Annotated[str, typer.Option(help="why it must stay, for the record")],
    name: As = "",
    estate: Estate = "",
) -> None:
    """Keep a backup, and what it needs, until it is let go."""
    if not reason.strip():
        raise Refused("a hold needs a reason", on=backup, next_action="say with --reason why it must stay")
    _open(estate).ledger.catalogue.hold(backup, reason.strip(), name or who(), datetime.now(UTC))
    out.print(f"{backup} is held: {reason.strip()}", markup=False)


@app.command("let-go")
def let_go(backup: Id, name: As = "", estate: Estate = "") -> None:
    """End the hold on a backup; retention decides about it from now on."""
    _open(estate).ledger.catalogue.hold(backup, "", name or who(), datetime.now(UTC))
    out.print(f"{backup} is not held any more", markup=False)


def _open(estate: str) -> "OpenEstate":
    connect(estate)
    from blocks.estate import open_estate

    opened = open_estate()
    opened.ledger.prepare()
    return opened


def _show_status(estate: "OpenEstate", as_json: bool) -> None:
    now = datetime.now(UTC)
    found = look(estate.file, estate.ledger.catalogue, now)
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        table = Table(*HEAD, box=SIMPLE_HEAD)
        for each in found:
            table.add_row(*map(escape, cells(each, now)))
        out.print(table)
        for each in found:
            for problem in each.problems:
                out.print(f"{each.plan}: {problem}", style="red", markup=False, soft_wrap=True)
    if any(each.problems for each in found):
        raise typer.Exit(Exit.FAILED)


def _show_plan(estate: "OpenEstate", as_json: bool) -> None:
    from blocks.backup_uses import in_use_now

    now, leases = datetime.now(UTC), estate.ledger.leases
    decisions = [
        each
        for name, plan in estate.file.backups.items()
        for each in plan_retention(estate.ledger.catalogue.entries(name), plan.retention, now, in_use_now(leases, name))
    ]
    if as_json:
        print_json([asdict(each) for each in decisions])
        return
    table = Table(*PLAN_HEAD, box=SIMPLE_HEAD)
    for each in decisions:
        table.add_row(*map(escape, plan_cells(each)), style="" if each.keep else "dim")
    out.print(table if decisions else "there is no backup yet")
