"""The commands `slipway failover`, `switchover` and `failback`: users are moved to another site."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.following import PlanOnly, Wait, give_answer, run_to_end, show_steps
from deployments.restore_command import moment
from deployments.shown import print_json
from deployments.terminal import Estate, Json, connect, estate_path, out, who
from tasks.common.moves import Moves, open_question

if TYPE_CHECKING:
    from tasks.failover.request import MoveRequest

Name = Annotated[str, typer.Argument(help="name of the failover, under failovers of the estate file")]
To = Annotated[str, typer.Option("--to", help="region of the site that is to serve")]


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
        estate=estate_path(),
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
    notes = moves.notes(run)
    if not notes:
        return False
    after = "see in the Prefect UI how it has ended; then start it again if it is still wanted"
    give_answer(notes[0].run_id, open_question(notes), answer, f"move of {notes[0].failover}", after)
    return True


def _planned(flow: str, name: str, to: str, plan_only: bool, estate: str, wait: bool, as_json: bool) -> None:
    from tasks.failover.request import MoveRequest

    connect(estate)
    request = MoveRequest(failover=name, to=to, estate=estate_path(), requested_by=who())
    _move(flow, request, plan_only, wait, as_json)


def _move(flow: str, request: "MoveRequest", plan_only: bool, wait: bool, as_json: bool) -> None:
    if plan_only:
        _show_plan(flow, request, as_json)
        return
    from blocks.estate import open_estate
    from blocks.failovers import failover_plan

    failover_plan(open_estate(), request.failover)
    run_to_end(flow, request, f"{flow} of {request.failover}", wait, as_json, answered=True)


def _show_plan(flow: str, request: "MoveRequest", as_json: bool) -> None:
    from deployments.planning_move import plan_move

    planned = plan_move(flow, request)
    if as_json:
        print_json(asdict(planned))
        return
    out.print(planned.what, markup=False, soft_wrap=True)
    show_steps(planned.steps, planned.remarks)
