"""What the commands that start a run share: it is started, followed to its end, shown, and says how it has ended."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.shown import print_json
from deployments.terminal import Exit, err, out
from tasks.common.errors import Refused

if TYPE_CHECKING:
    from deployments.runs import Ended

Wait = Annotated[bool, typer.Option(help="follow the run to its end, or only start it")]
PlanOnly = Annotated[bool, typer.Option("--plan", help="say what would be done, and change nothing")]

_FAILED = re.compile(r"^Flow run encountered an exception: \w+: ")
_CODES = {
    "UNSAFE": Exit.UNSAFE,
    "Refused": Exit.REFUSED,
    "Failed (may be retried)": Exit.NOT_REACHABLE,
    "Failed (brought back)": Exit.ROLLED_BACK,
    "Failed (taken back)": Exit.ROLLED_BACK,
}


def run_to_end(flow: str, request: Any, title: str, wait: bool, as_json: bool, *, answered: bool = False) -> None:
    """The flow was started with the request; where it is waited for, it has ended, and that was shown.

    Args:
        flow: name of the flow.
        request: its parameters.
        title: what the run is called when its end is shown.
        wait: follow it; else it is started only.
        as_json: for scripts.
        answered: the run may ask for an answer.

    Raises:
        typer.Exit: it has failed, with the code that says how.
    """
    run_id = start(flow, request, wait, as_json, answered=answered)
    if run_id:
        ended = follow(run_id, as_json)
        show_ended(title, ended, as_json)
        exit_as(ended)


def start(flow: str, request: Any, wait: bool, as_json: bool, *, answered: bool = False) -> str:
    """Start the flow with the request; returns the run's id if it is to be followed, else shows it and returns ''.

    The id of a run that may ask is said at once: it is answered in another terminal.
    """
    from tasks.common.run_steps import start_run

    run_id = start_run(flow, request)
    if not wait:
        print_json({"run": run_id}) if as_json else out.print(f"started run {run_id}")
        return ""
    if answered:
        err.print(f"run {run_id}", style="dim")
    return run_id


def follow(run_id: str, as_json: bool) -> "Ended":
    """The run has ended; its log was shown as it came, but not among JSON."""
    from deployments import runs

    return runs.follow(run_id, lambda text: None if as_json else out.print(text, markup=False, style="dim"))


def show_ended(title: str, ended: "Ended", as_json: bool) -> None:
    """How a run has ended is shown."""
    if as_json:
        print_json(asdict(ended))
        return
    out.print(f"\n{title}: {ended.state}", markup=False)
    if why_of(ended):
        out.print(why_of(ended), markup=False)


def exit_as(ended: "Ended") -> None:
    """The run has done what it was to do.

    Raises:
        typer.Exit: it has not, with the code that says how.
    """
    if not ended.completed:
        raise typer.Exit(exit_of(why_of(ended)))


def why_of(ended: "Ended") -> str:
    """Return the last words of a run that has failed, without what Prefect says before them; '' of another one."""
    return "" if ended.completed else _FAILED.sub("", ended.message)


def exit_of(why: str) -> Exit:
    """Return how the command ends after a run whose last words these are."""
    return next((code for word, code in _CODES.items() if why.startswith(word)), Exit.FAILED)


def show_steps(steps: Sequence[str], remarks: Sequence[str] = ()) -> None:
    """What would be done is shown, in its order, and what is to be known about it."""
    for number, step in enumerate(steps, start=1):
        out.print(f"{number:>2}. {step}", markup=False, soft_wrap=True)
    for remark in remarks:
        out.print(f"    {remark}", markup=False, soft_wrap=True)


def give_answer(run_id: str, expires_at: datetime | None, answer: dict[str, str], on: str, next_action: str) -> None:
    """The run that waits for an answer has it, and goes on. *Idempotent:* no; a second answer is refused.

    Args:
        run_id: of the run.
        expires_at: when its question does; None: it does not ask.
        answer: 'decision', 'reason' and 'name'.
        on: what the run is about.
        next_action: what to do where it does not wait any more.

    Raises:
        Refused: it does not wait for an answer, or waits no longer.
        Retryable: the Prefect server does not answer.
    """
    from tasks.common.run_steps import answer_run

    if expires_at is None or datetime.now(UTC) > expires_at:
        raise Refused(
            "this run does not wait for an answer" if expires_at is None else "the time for an answer is over",
            on=on,
            next_action=next_action,
        )
    answer_run(run_id, answer)
    out.print(f"{on}: {answer['decision']}; run {run_id[:8]} goes on", markup=False)
