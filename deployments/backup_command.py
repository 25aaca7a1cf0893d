"""The commands `slipway backup` and `slipway verify-backup`: a backup is taken, proven by a restore, or challenged."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from deployments.following import Wait, exit_as, follow, run_to_end, start, why_of
from deployments.shown import print_json
from deployments.terminal import Estate, Json, connected, estate_path, out, who
from tasks.common.backups import BackupKind

if TYPE_CHECKING:
    from deployments.runs import Ended
    from tasks.common.challenges import Challenge

_TAKE = "take"
_SHORT = 5
"""So many columns of a challenge fit a terminal; the others are long texts."""


class _TakesByItself(TyperGroup):
    """`slipway backup PLAN` is `slipway backup take PLAN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        return super().parse_args(ctx, self._whole(args))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, self._whole(args))

    def _whole(self, args: list[str]) -> list[str]:
        return args if args and (args[0] in self.commands or args[0] == "--help") else [_TAKE, *args]


app = typer.Typer(
    cls=_TakesByItself, help="Take a backup of a plan, also without the word 'take'; or challenge its verification."
)
Plan = Annotated[str, typer.Argument(help="name of the plan, under backups of the estate file")]


@app.command(_TAKE)
def take(
    plan: Plan,
    kind: Annotated[BackupKind, typer.Option(help="how much of the source it holds itself")] = BackupKind.FULL,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="go on although none of the backups is in a repository any more")
    ] = False,
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Take a backup of a plan, read it where it lies, copy it, and expire what is kept no longer."""
    connected(estate).backup_plan(plan)
    from tasks.backup.request import BackupRequest

    request = BackupRequest(plan=plan, kind=kind, accept_loss=accept_loss, estate=estate_path(), requested_by=who())
    run_to_end("backup", request, f"backup of {plan}", wait, as_json)


def verify_backup(
    plan: Plan,
    which: Annotated[
        str, typer.Option(help="newest, random, least-recently-verified, or a backup's id in the catalogue")
    ] = "newest",
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Restore a backup of a plan into a scratch server, and show that what came back is right."""
    connected(estate).backup_plan(plan)
    from tasks.verification.request import VerifyRequest

    request = VerifyRequest(plan=plan, which=which, estate=estate_path())
    run_to_end("verify-backup", request, f"verification of {plan}", wait, as_json)


@app.command()
def challenge(plan: Plan, estate: Estate = "", wait: Wait = True, as_json: Json = False) -> None:
    """Damage copies of a plan's newest backup on purpose, and show which rung of its verification finds it."""
    opened = connected(estate)
    opened.subject(plan)
    from tasks.challenge.request import ChallengeRequest

    request = ChallengeRequest(plan=plan, estate=estate_path(), requested_by=who())
    run_id = start("challenge-backup", request, wait, as_json)
    if not run_id:
        return
    ended = follow(run_id, as_json)
    opened.ledger.prepare()
    made = opened.ledger.catalogue.challenges(plan, 10)
    _show_challenge(plan, ended, next((each for each in made if each.run_id == ended.run_id), None), as_json)
    exit_as(ended)


def _show_challenge(plan: str, ended: "Ended", made: "Challenge | None", as_json: bool) -> None:
    from tasks.challenge.judge import headline
    from tasks.challenge.report import HEAD, cells

    if as_json:
        print_json({**asdict(ended), "challenge": {**asdict(made), "verdict": made.verdict} if made else None})
        return
    out.print(f"\nchallenge of {plan}: {ended.state}", markup=False)
    if made is not None:
        out.print(headline(made), style="bold", markup=False)
        for control in made.controls:
            found = "sound" if control.sound else "NOT SOUND"
            out.print(f"{control.name}: {found}: {control.said}", markup=False)
        table = Table(*HEAD[:_SHORT], box=SIMPLE_HEAD)
        for trial in made.trials:
            table.add_row(*map(escape, cells(trial)[:_SHORT]))
        out.print(table)
        for trial in made.trials:
            out.print(f"{trial.fault}: {'; '.join(filter(None, cells(trial)[_SHORT:]))}", style="dim", markup=False)
    if why_of(ended):
        out.print(why_of(ended), markup=False)
