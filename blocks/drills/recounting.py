"""A drill is counted again from what it has left: the log of every operation, and the ids that were there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.drills.place import DrillPlace, experiments_of
from blocks.estate import OpenEstate
from tasks.common.drill_notes import ENDED, ROUND, DrillNote
from tasks.common.drills import DrillObjectives, Experiment
from tasks.common.errors import Refused, Unsafe
from tasks.common.units import write_duration
from tasks.drill.judge import Round, judge
from tasks.drill.log import parse
from tasks.drill.recount import Seal, differences, facts_of, read_kept, seal


@dataclass(frozen=True)
class Recounted:
    """A round that was counted again.

    Args:
        round: as it is counted now.
        differs: what is on record otherwise.
        from_database: whether the database was asked which ids are there; else those count that were there then.
    """

    round: Round
    differs: Sequence[str]
    from_database: bool


def sealed(log: Path) -> Seal:
    """Return by what a client's log is known again."""
    return seal(log.read_text("utf-8", errors="replace").splitlines(keepends=True))


def recounted(estate: OpenEstate, run: str, *, ask: bool = False) -> Sequence[Recounted]:
    """Return each round as it is counted now, with what differs from the record.

    Args:
        estate: whose drill it was.
        run: id of the run; its beginning is enough.
        ask: ask the database again which ids are there. Only the newest round of the cluster still has its rows.

    Raises:
        Refused: there is no such drill, its file is gone, or a later round has removed its rows.
        Unsafe: what it has left cannot be read.
        Retryable: the ledger or the database does not answer.
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
    place = DrillPlace(estate, rounds[0].drill) if ask else None
    found = [_again(known[each.drill], Path(folder), each, place) for each in rounds]
    if ask and not any(each.from_database for each in found):
        raise Refused(
            "no row of this drill is in the database: the next round of a drill removes those of the one before",
            on=run,
            next_action="count it from what was kept: leave '--database' out",
        )
    return found


def _again(experiment: Experiment, folder: Path, note: DrillNote, place: DrillPlace | None) -> Recounted:
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
    there = frozenset(kept.there) if kept.there is not None else None
    now = place.ids(log.run) if place is not None else frozenset[str]()
    found = judge(
        experiment,
        _objectives(kept.objectives),
        log,
        number=kept.number,
        moments=kept.moments,
        there=now or there,
        probes=kept.probes,
        aborted=kept.aborted,
        by_hand=kept.by_hand,
    )
    return Recounted(found, differences(note.facts, facts_of(found, sealed(path))), bool(now))


def _objectives(seconds: Mapping[str, float]) -> DrillObjectives:
    return DrillObjectives.model_validate({name: write_duration(each) for name, each in seconds.items()})
