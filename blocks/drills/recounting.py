"""A drill is counted again from what it has left: the log of every operation, and the ids that were there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from blocks.drills.place import experiments_of
from blocks.estate import OpenEstate
from blocks.files import digest_of_file
from tasks.common.drill_notes import ENDED, ROUND, DrillNote
from tasks.common.drills import DrillObjectives, Experiment
from tasks.common.errors import Refused, Unsafe
from tasks.common.units import write_duration
from tasks.drill.judge import Round, judge
from tasks.drill.log import parse
from tasks.drill.recount import differences, facts_of, read_kept


def recounted(estate: OpenEstate, run: str) -> Sequence[tuple[Round, Sequence[str]]]:
    """Return each round as it is counted now, with what differs from the record.

    Args:
        estate: whose drill it was.
        run: id of the run; its beginning is enough.

    Raises:
        Refused: there is no such drill, or its file is gone.
        Unsafe: what it has left cannot be read.
        Retryable: the ledger does not answer.
    """
    notes = estate.ledger.drills.notes(run)
    rounds = [each for each in notes if each.kind == ROUND]
    folder = next((str(each.facts.get("evidence")) for each in notes if each.kind == ENDED), "")
    if not rounds or not folder:
        raise Refused(
            "no round of such a drill is on record, or it has not ended",
            on=run,
            next_action="'slipway drill list' shows them",
        )
    known = experiments_of(estate)
    if rounds[0].drill not in known:
        raise Refused(
            f"the file of the drill {rounds[0].drill!r} is gone", on=run, next_action="bring it back, and count again"
        )
    return [_again(known[rounds[0].drill], Path(folder), each) for each in rounds]


def _again(experiment: Experiment, folder: Path, note: DrillNote) -> tuple[Round, Sequence[str]]:
    path = folder / f"round-{note.number:02}.jsonl"
    try:
        kept = read_kept(path.with_suffix(".json").read_text("utf-8"))
        with path.open(encoding="utf-8", errors="replace") as lines:
            log = parse(lines, str(path))
    except (OSError, ValueError) as error:
        raise Unsafe(
            f"what the drill has left cannot be read ({type(error).__name__})",
            on=str(path),
            state="its record stands, and cannot be counted again",
            next_action="bring the folder back from a backup of this machine",
        ) from None
    found = judge(
        experiment,
        _objectives(kept.objectives),
        log,
        number=kept.number,
        moments=kept.moments,
        there=frozenset(kept.there) if kept.there is not None else None,
        probes=kept.probes,
        aborted=kept.aborted,
        by_hand=kept.by_hand,
    )
    return found, differences(note.facts, facts_of(found, digest_of_file(path)))


def _objectives(seconds: Mapping[str, float]) -> DrillObjectives:
    return DrillObjectives.model_validate({name: write_duration(each) for name, each in seconds.items()})
