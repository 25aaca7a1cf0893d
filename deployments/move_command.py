"""The commands `slipway failover`, `switchover` and `failback`: users are moved to another site."""

import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.restore_command import FAILED, exit_of, moment
from deployments.shown import print_json
from deployments.terminal import Estate, Json, connect, err, out, who
from tasks.common.errors import Refused
from tasks.common.moves import Moves, open_question

if TYPE_CHECKING:
    from tasks.failover.request import MoveRequest

Name = Annotated[str, typer.Argument(help="name of the failover, under failovers of the estate file")]
To = Annotated[str, typer.Option("--to", help="region of the site that is to serve")]
PlanOnly = Annotated[bool, typer.Option("--plan", help="say what would be done, and change nothing")]
Wait = Annotated[bool, typer.Option(help="follow the run to its end, or only start it")]


def failover(
    name: Name,
    to: Annotated[str, typer.Option("--to", help="region; default: the fit one of the highest priority")] = "",
    down_since: Annotated[str, typer.Option(help="when it stopped to serve, with its zone; tells what is lost")] = "",
    accept_loss: Annotated[str, typer.Option(help="why a loss beyond the objective is taken, for the record")] = "",
    accept_unfenced: Annotated[
        str, typer.Option(help="how you know that the old site takes no writes, for the record")
    ] = "",
    plan_only: PlanOnly = False,
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Have another site serve because the one that serves is down; the old one is fenced first."""
    from tasks.failover.request import FailoverRequest

    connect(estate)
    since = moment(down_since, "--down-since")
    request = FailoverRequest(
        failover=name,
        to=to,
        down_since=since,
        accept_loss=accept_loss,
        accept_unfenced=accept_unfenced,
        estate=_estate(),
        requested_by=who(),
    )
    _move("failover", request, plan_only, wait, as_json)


def switchover(
    name: Name,
    to: To,
    plan_only: PlanOnly = False,
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Have another site serve, planned and without a loss; or take back a move that has promoted nobody."""
    _planned("switchover", name, to, plan_only, estate, wait, as_json)


def failback(
    name: Name,
    to: To,
    plan_only: PlanOnly = False,
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Rebuild a site that was failed over from as a standby, let it catch up, and have it serve again."""
    _planned("failback", name, to, plan_only, estate, wait, as_json)


def answer_move(moves: Moves, run: str, answer: dict[str, str]) -> bool:
    """The move that waits for an answer has it, and goes on; returns False where there is no such run.

    *Idempotent:* no; a second answer is refused.

    Raises:
        Refused: it does not wait for an answer, or waits no longer.
        Retryable: the ledger or the Prefect server does not answer.
    """
    from tasks.common.run_steps import answer_run

    notes = moves.notes(run)
    if not notes:
        return False
    expires_at, first = open_question(notes), notes[0]
    on = f"move of {first.failover}"
    if expires_at is None or datetime.now(UTC) > expires_at:
        raise Refused(
            "this run does not wait for an answer" if expires_at is None else "the time for an answer is over",
            on=on,
            next_action="see in the Prefect UI how it has ended; then start it again if it is still wanted",
        )
    answer_run(first.run_id, answer)
    out.print(f"{on}: {answer['decision']}; run {first.run_id[:8]} goes on", markup=False)
    return True


def _planned(flow: str, name: str, to: str, plan_only: bool, estate: str, wait: bool, as_json: bool) -> None:
    from tasks.failover.request import MoveRequest

    connect(estate)
    request = MoveRequest(failover=name, to=to, estate=_estate(), requested_by=who())
    _move(flow, request, plan_only, wait, as_json)


def _move(flow: str, request: "MoveRequest", plan_only: bool, wait: bool, as_json: bool) -> None:
    if plan_only:
        _show_plan(flow, request, as_json)
        return
    from blocks.estate import open_estate
    from blocks.failovers import failover_plan
    from tasks.common.run_steps import start_run

    failover_plan(open_estate(), request.failover)
    run_id = start_run(flow, request)
    if not wait:
        print_json({"run": run_id}) if as_json else out.print(f"started run {run_id}")
        return
    _follow(flow, run_id, request.failover, as_json)


def _follow(flow: str, run_id: str, name: str, as_json: bool) -> None:
    from deployments import runs

    # Its answer is given in another terminal: the id is said at once.
    err.print(f"run {run_id}", style="dim")
    say = (lambda text: None) if as_json else (lambda text: out.print(text, markup=False, style="dim"))
    ended = runs.follow(run_id, say)
    why = "" if ended.completed else FAILED.sub("", ended.message)
    if as_json:
        print_json(asdict(ended))
    else:
        out.print(f"\n{flow} of {name}: {ended.state}", markup=False)
        if why:
            out.print(why, markup=False)
    if not ended.completed:
        raise typer.Exit(exit_of(why))


def _show_plan(flow: str, request: "MoveRequest", as_json: bool) -> None:
    from deployments.planning_move import plan_move

    planned = plan_move(flow, request)
    if as_json:
        print_json(asdict(planned))
        return
    out.print(planned.what, markup=False, soft_wrap=True)
    for number, step in enumerate(planned.steps, start=1):
        out.print(f"{number:>2}. {step}", markup=False, soft_wrap=True)
    for remark in planned.remarks:
        out.print(f"    {remark}", markup=False, soft_wrap=True)


def _estate() -> str:
    return os.environ.get("SLIPWAY_ESTATE", "")
