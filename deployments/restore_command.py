"""The command `slipway restore`: a backup, or a point in time, is brought back into a server."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.following import PlanOnly, Wait, give_answer, run_to_end, show_steps
from deployments.shown import print_json
from deployments.terminal import Estate, Json, connect, estate_path, who
from tasks.common.errors import Refused
from tasks.common.restores import Restores, open_question

if TYPE_CHECKING:
    from tasks.restore.request import RestoreRequest


def restore(
    plan: Annotated[str, typer.Argument(help="name of the plan, under backups of the estate file")],
    to: Annotated[str, typer.Option("--to", help="target, under targets of the plan")],
    backup: Annotated[str, typer.Option(help="id of a backup, as 'slipway backups' shows it")] = "",
    at: Annotated[str, typer.Option(help="point in time with its zone, such as 2026-11-22T13:37:00Z")] = "",
    plan_only: PlanOnly = False,
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Bring a backup, or a point in time, back into a server; over one that is there only after an approval."""
    connect(estate)
    from tasks.restore.request import RestoreRequest

    request = RestoreRequest(
        plan=plan, to=to, backup=backup, at=moment(at, "--at"), estate=estate_path(), requested_by=who()
    )
    if plan_only:
        _show_plan(request, as_json)
        return
    from blocks.estate import open_estate

    open_estate().target_spec(plan, to)
    run_to_end("restore", request, f"restore of {plan} into {to}", wait, as_json, answered=True)


def answer_restore(restores: Restores, run: str, answer: dict[str, str]) -> bool:
    """The restore that waits for an answer has it, and goes on; returns False where there is no such restore.

    *Idempotent:* no; a second answer is refused.

    Raises:
        Refused: it does not wait for an answer, or waits no longer.
        Retryable: the ledger or the Prefect server does not answer.
    """
    notes = restores.notes(run)
    if not notes:
        return False
    on = f"restore of {notes[0].plan} into {notes[0].target}"
    after = "see in the Prefect UI how it has ended; then restore again if it is still wanted"
    give_answer(notes[0].run_id, open_question(notes), answer, on, after)
    return True


def _show_plan(request: "RestoreRequest", as_json: bool) -> None:
    from deployments.planning_restore import plan_restore

    steps, remarks = plan_restore(request)
    if as_json:
        print_json({"steps": steps, "remarks": remarks})
        return
    show_steps(steps, remarks)


def moment(text: str, option: str) -> datetime | None:
    """Return the point in time.

    Raises:
        Refused: it is none, or has no zone.
    """
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.utcoffset() is None:
        raise Refused(
            f"{text!r} is no point in time with its zone",
            on=f"the option {option}",
            next_action="write it as 2026-11-22T13:37:00Z, or 2026-11-22T14:37:00+01:00",
        )
    return found
