"""The command `slipway restore`: a backup, or a point in time, is brought back into a server."""

import os
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.shown import print_json
from deployments.terminal import Estate, Exit, Json, connect, err, out, who
from tasks.common.errors import Refused
from tasks.common.restores import Restores, open_question

if TYPE_CHECKING:
    from tasks.restore.request import RestoreRequest

FAILED = re.compile(r"^Flow run encountered an exception: \w+: ")
_CODES = {
    "UNSAFE": Exit.UNSAFE,
    "Refused": Exit.REFUSED,
    "Failed (may be retried)": Exit.NOT_REACHABLE,
    "Failed (brought back)": Exit.ROLLED_BACK,
    "Failed (taken back)": Exit.ROLLED_BACK,
}


def restore(
    plan: Annotated[str, typer.Argument(help="name of the plan, under backups of the estate file")],
    to: Annotated[str, typer.Option("--to", help="target, under targets of the plan")],
    backup: Annotated[str, typer.Option(help="id of a backup, as 'slipway backups' shows it")] = "",
    at: Annotated[str, typer.Option(help="point in time with its zone, such as 2026-11-22T13:37:00Z")] = "",
    plan_only: Annotated[bool, typer.Option("--plan", help="say what would be done, and change nothing")] = False,
    estate: Estate = "",
    wait: Annotated[bool, typer.Option(help="follow the run to its end, or only start it")] = True,
    as_json: Json = False,
) -> None:
    """Bring a backup, or a point in time, back into a server; over one that is there only after an approval."""
    connect(estate)
    from tasks.common.run_steps import start_run
    from tasks.restore.request import RestoreRequest

    path = os.environ.get("SLIPWAY_ESTATE", "")
    request = RestoreRequest(plan=plan, to=to, backup=backup, at=moment(at, "--at"), estate=path, requested_by=who())
    if plan_only:
        _show_plan(request, as_json)
        return
    from blocks.estate import open_estate

    open_estate().target_spec(plan, to)
    run_id = start_run("restore", request)
    if not wait:
        print_json({"run": run_id}) if as_json else out.print(f"started run {run_id}")
        return
    _follow(run_id, f"{plan} into {to}", as_json)


def answer_restore(restores: Restores, run: str, answer: dict[str, str]) -> bool:
    """The restore that waits for an answer has it, and goes on; returns False where there is no such restore.

    *Idempotent:* no; a second answer is refused.

    Raises:
        Refused: it does not wait for an answer, or waits no longer.
        Retryable: the ledger or the Prefect server does not answer.
    """
    from tasks.common.run_steps import answer_run

    notes = restores.notes(run)
    if not notes:
        return False
    expires_at, first = open_question(notes), notes[0]
    on = f"restore of {first.plan} into {first.target}"
    if expires_at is None or datetime.now(UTC) > expires_at:
        raise Refused(
            "this run does not wait for an answer" if expires_at is None else "the time for an answer is over",
            on=on,
            next_action="see in the Prefect UI how it has ended; then restore again if it is still wanted",
        )
    answer_run(first.run_id, answer)
    out.print(f"{on}: {answer['decision']}; run {first.run_id[:8]} goes on", markup=False)
    return True


def _follow(run_id: str, what: str, as_json: bool) -> None:
    from deployments import runs

    # Its answer is given in another terminal: the id is said at once.
    err.print(f"run {run_id}", style="dim")
    say = (lambda text: None) if as_json else (lambda text: out.print(text, markup=False, style="dim"))
    ended = runs.follow(run_id, say)
    why = "" if ended.completed else FAILED.sub("", ended.message)
    if as_json:
        print_json(asdict(ended))
    else:
        out.print(f"\nrestore of {what}: {ended.state}", markup=False)
        if why:
            out.print(why, markup=False)
    if not ended.completed:
        raise typer.Exit(exit_of(why))


def exit_of(why: str) -> Exit:
    """Return how the command ends after a run whose last words these are."""
    return next((code for word, code in _CODES.items() if why.startswith(word)), Exit.FAILED)


def _show_plan(request: "RestoreRequest", as_json: bool) -> None:
    from deployments.planning_restore import plan_restore

    steps, remarks = plan_restore(request)
    if as_json:
        print_json({"steps": steps, "remarks": remarks})
        return
    for number, step in enumerate(steps, start=1):
        out.print(f"{number:>2}. {step}", markup=False, soft_wrap=True)
    for remark in remarks:
        out.print(f"    {remark}", markup=False, soft_wrap=True)


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
