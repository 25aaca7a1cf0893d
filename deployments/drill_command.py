"""The commands `slipway drill` and `slipway reap`: practise a failure, count it again, undo what was left over."""

import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from deployments.following import Wait, give_answer, run_to_end, show_steps
from deployments.shown import print_json
from deployments.terminal import Estate, Exit, Json, connect, estate_path, out, who
from tasks.common.drill_notes import DrillNote, DrillNotes, open_question
from tasks.common.errors import Refused

if TYPE_CHECKING:
    from blocks.drills.recounting import Recounted
    from blocks.drills.undo_journal import UndoJournal
    from tasks.drill.judge import Round

app = typer.Typer(no_args_is_help=True, help="Practise failures: start a drill, list them, count one again.")
Name = Annotated[str, typer.Argument(help="name of the drill, as its file has it")]


@app.command()
def start(
    drill: Name,
    repeat: Annotated[int, typer.Option(min=1, max=100, help="so often, one after the other")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan, and break nothing")] = False,
    estate: Estate = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Break something on purpose, watch what becomes of it, put it right, and measure."""
    connect(estate)
    if dry_run:
        steps = _plan(drill, repeat)
        print_json({"steps": steps}) if as_json else show_steps(steps)
        return
    from tasks.drill.request import DrillRequest

    _place(drill)
    request = DrillRequest(drill=drill, repeat=repeat, estate=estate_path(), requested_by=who())
    run_to_end("drill", request, f"drill {drill}", wait, as_json, answered=True)


@app.command("list")
def list_drills(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="how many")] = 20,
    estate: Estate = "",
    as_json: Json = False,
) -> None:
    """List what can be practised, and how the latest drills went, newest first."""
    connect(estate)
    from blocks.drills.place import experiments_of
    from blocks.estate import open_estate

    opened = open_estate()
    known = experiments_of(opened)
    opened.ledger.prepare()
    made = opened.ledger.drills.ended(None, limit)
    if as_json:
        drills = [{"drill": name, "title": each.title, "expect": each.expect} for name, each in known.items()]
        print_json({"drills": drills, "runs": [asdict(each) for each in made]})
        return
    table = Table("drill", "on", "expected", "what happens", box=SIMPLE_HEAD)
    for name, each in known.items():
        table.add_row(name, each.cluster, each.expect.value, escape(each.title))
    out.print(table)
    table = Table("run", "ended", "drill", "rounds", "passed", "RTO", "lost", "how", box=SIMPLE_HEAD)
    for note in made:
        table.add_row(*_cells(note))
    out.print(table if made else "  nothing was practised yet")


@app.command()
def recount(
    run: Annotated[str, typer.Argument(help="id of the run, or its beginning")],
    database: Annotated[bool, typer.Option("--database", help="ask the database again which ids are there")] = False,
    estate: Estate = "",
    as_json: Json = False,
) -> None:
    """Count a drill again from the log of every operation, and compare with what is on record."""
    connect(estate)
    from blocks.drills.recounting import recounted
    from blocks.estate import open_estate

    opened = open_estate()
    opened.ledger.prepare()
    found = recounted(opened, run, ask=database)
    if as_json:
        print_json([_recounted(each) for each in found])
    else:
        for one in found:
            out.print(_line(one.round), markup=False)
            for each in one.differs:
                out.print(f"  DIFFERS {each}", style="red", markup=False, soft_wrap=True)
    if any(one.differs for one in found):
        raise typer.Exit(Exit.FAILED)


def reap(
    everything: Annotated[bool, typer.Option("--all", help="undo also what has not expired")] = False,
    running: Annotated[
        bool, typer.Option("--even-running", help="with --all: also under a drill that is on its way, which then fails")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="go on looking until it is ended")] = False,
    journal: Annotated[str, typer.Option(help="folder of the undo journal, where there is no estate file")] = "",
    estate: Estate = "",
) -> None:
    """Undo faults that have outlived their drills. It needs neither the Prefect server nor a worker nor the ledger."""
    found = _journal(journal, estate)
    from blocks.drills.reaper import line_of

    if watch:
        _watch(found)
        return
    by = found.holder()
    if everything and by and not running:
        raise Refused(
            f"run {by} practises just now, and undoes its faults itself",
            on=str(found.folder),
            next_action="let it end, or cancel it in the Prefect UI; '--even-running' undoes them under its hands",
        )
    done, problems = found.reap(whatever=everything)
    for each in done:
        out.print(line_of(each), markup=False, soft_wrap=True)
    left, _ = found.entries()
    for entry in left:
        out.print(f"in place: {entry}", markup=False)
    if not done and not left and not problems:
        out.print("nothing is left to undo")
    if problems:
        raise problems[0]
    if any(each.undone is None or each.undone.by_hand for each in done):
        raise typer.Exit(Exit.UNSAFE)


def answer_drill(drills: DrillNotes, run: str, answer: dict[str, str]) -> bool:
    """The drill that waits for an answer has it, and goes on; returns False where there is no such drill.

    *Idempotent:* no; a second answer is refused.

    Raises:
        Refused: it does not wait for an answer, or waits no longer.
        Retryable: the ledger or the Prefect server does not answer.
    """
    notes = drills.notes(run)
    if not notes:
        return False
    after = "'slipway drill list' shows how it has ended; start it again if it is still wanted"
    on = f"drill {notes[0].drill} on {notes[0].cluster}"
    give_answer(notes[0].run_id, open_question(notes), answer, on, after)
    return True


def _place(drill: str) -> Any:
    from blocks.drills.place import DrillPlace
    from blocks.estate import open_estate

    return DrillPlace(open_estate(), drill)


def _plan(drill: str, repeat: int) -> tuple[str, ...]:
    from tasks.drill.plan import injections, printed, targets

    place = _place(drill)
    nodes = place.nodes.look() if place.nodes is not None else ()
    found = injections(place.experiment, place.cluster, targets(place.experiment, place.cluster, nodes))
    return printed(place.experiment, place.cluster, found, repeat)


def _recounted(one: "Recounted") -> dict[str, object]:
    lost = one.round.loss
    return {
        "round": one.round.number,
        "rto_s": one.round.rto_s,
        "acknowledged": lost.acknowledged if lost is not None else None,
        "lost": list(lost.lost) if lost is not None else None,
        "rpo_s": lost.rpo_s if lost is not None else None,
        "differs": list(one.differs),
        "from_database": one.from_database,
    }


def _cells(note: DrillNote) -> tuple[str, ...]:
    facts = note.facts
    rto = facts.get("rto_s")
    return (
        note.run_id[:8],
        f"{note.at:%m-%d %H:%M}",
        note.drill,
        str(facts.get("rounds", "")),
        str(facts.get("passed", "")),
        f"{rto:.1f} s" if isinstance(rto, int | float) else "",
        str(facts.get("lost", "")),
        escape((str(facts.get("error") or "").splitlines() or ["passed"])[0]),
    )


def _line(one: "Round") -> str:
    lost = "not counted" if one.loss is None else f"{len(one.loss.lost)} of {one.loss.acknowledged} lost"
    verdict = "; ".join(one.problems) or "passed"
    return f"round {one.number}: {one.outcome.value}, RTO {one.rto_s:.2f} s, {lost}: {verdict}"


def _journal(folder: str, estate: str) -> "UndoJournal":
    from blocks.drills.undo_journal import UndoJournal

    if folder:
        if not Path(folder).is_dir():
            raise Refused("there is no such folder", on=folder, next_action="name the folder of the undo journal")
        return UndoJournal(Path(folder))
    connect(estate)
    from blocks.drills.place import journal_of
    from blocks.estate import open_estate

    return journal_of(open_estate())


def _watch(journal: "UndoJournal") -> None:
    from blocks.drills.reaper import on_duty, watch

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    journal.prepare()
    with on_duty(journal.folder) as mine:
        if not mine:
            raise Refused("another reaper looks after it", on=str(journal.folder), next_action="leave it to that one")
        watch(journal, lambda text: out.print(text, markup=False, soft_wrap=True), until_empty=False, stop=stop)
