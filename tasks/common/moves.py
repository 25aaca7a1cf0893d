"""What is on record of moves between sites: what was decided, who said yes, how it ended. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

DECIDED, ASKED, ANSWERED, PROMOTING, ENDED = "decided", "asked", "answered", "promoting", "ended"
"""What a note can be of, besides the steps, whose kinds begin with 'step '. A run has each once."""


class MoveKind(StrEnum):
    """Why the writes go to another site."""

    FAILOVER = "failover"
    """The site that served does not: unplanned, what its standby does not have is lost."""
    SWITCHOVER = "switchover"
    """Both sites are well: planned, nothing is lost."""
    FAILBACK = "failback"
    """Back to a site that was failed over from, which is made a standby again first: planned, nothing is lost."""


class Closed(StrEnum):
    """How a move has come to its end: nothing of it is left to do."""

    REACHED = "reached"
    TURNED_BACK = "turned back"
    """The site that served before serves again."""


@dataclass(frozen=True)
class MoveNote:
    """One thing that is on record of a move.

    Args:
        move_id: id of the run that decided on it; runs that carry it on note it, too.
        run_id: the flow run.
        failover: name of the failover, as in the estate file.
        kind: one of the words above.
        at: when it was so; aware.
        facts: JSON data, without secrets.
    """

    move_id: str
    run_id: str
    failover: str
    kind: str
    at: datetime
    facts: Mapping[str, object] = field(default_factory=dict)


class Moves(Protocol):
    """What is on record of moves. Kept in the ledger; rows are only added.

    Every method raises Retryable where the ledger does not answer.
    """

    def note(self, note: MoveNote) -> None:
        """It is kept, in order. *Idempotent:* yes, by its run and kind; the first one stands.

        Raises:
            Refused: its facts are no JSON data, or its time is naive.
        """
        ...

    def notes(self, run_id: str) -> Sequence[MoveNote]:
        """Return what is on record of a run, in order; the beginning of its id is enough where no other begins so.

        Raises:
            Refused: several runs begin so.
        """
        ...

    def history(self, failover: str, limit: int) -> Sequence[MoveNote]:
        """Return all notes of the latest moves of a failover, in the order in which they were made.

        Args:
            failover: its name.
            limit: how many moves at most, by their latest notes.
        """
        ...


@dataclass(frozen=True)
class Move:
    """The writes and the users of a failover go from one site to another.

    Args:
        id: of the run that decided on it.
        kind: why.
        source: the region that served.
        target: the region that is to serve.
        promoting: whether the promotion of the target was begun: the point of no return.
        unfenced: who takes the risk that the source may still take writes, and why; '' where nobody does.
        way_back: whether it takes back a move that has promoted nobody.
        untold: of a way back: whether the record shows that its source was never told to take writes.
    """

    id: str
    kind: MoveKind
    source: str
    target: str
    promoting: bool = False
    unfenced: str = ""
    way_back: bool = False
    untold: bool = False

    @property
    def planned(self) -> bool:
        """Return whether nothing may be lost."""
        return self.kind is not MoveKind.FAILOVER

    def __str__(self) -> str:
        """Return 'failover from a to b'."""
        kind = "way back" if self.way_back else self.kind.value
        return f"{kind} from {self.source} to {self.target}"

    @property
    def facts(self) -> Mapping[str, object]:
        """Return what its record needs, so that another run can carry it on."""
        return {
            "kind": self.kind.value,
            "source": self.source,
            "target": self.target,
            "unfenced": self.unfenced,
            "way_back": self.way_back,
            "untold": self.untold,
        }


def open_move(notes: Sequence[MoveNote]) -> Move | None:
    """Return the latest move that was decided on and has not come to its end; None where there is none.

    Args:
        notes: of one failover, in the order in which they were made.
    """
    decided = [note for note in notes if note.kind == DECIDED]
    if not decided:
        return None
    last = decided[-1]
    own = [note for note in notes if note.move_id == last.move_id]
    if any(note.kind == ENDED and note.facts.get("closed") for note in own):
        return None
    facts = last.facts
    return Move(
        last.move_id,
        MoveKind(str(facts["kind"])),
        str(facts["source"]),
        str(facts["target"]),
        promoting=any(note.kind == PROMOTING for note in own),
        unfenced=str(facts.get("unfenced", "")),
        way_back=bool(facts.get("way_back", False)),
        untold=bool(facts.get("untold", False)),
    )


def last_target(notes: Sequence[MoveNote]) -> str:
    """Return the region that the latest move that reached its end has gone to; '' where none has."""
    ended = {
        note.move_id: note.facts.get("closed") for note in notes if note.kind == ENDED and note.facts.get("closed")
    }
    sides = {Closed.REACHED.value: "target", Closed.TURNED_BACK.value: "source"}
    for note in reversed(notes):
        side = sides.get(str(ended.get(note.move_id)))
        if note.kind == DECIDED and side is not None:
            return str(note.facts[side])
    return ""


def open_question(notes: Sequence[MoveNote]) -> datetime | None:
    """Return until when an answer counts, of a run's notes; None where none is waited for."""
    kinds = {each.kind for each in notes}
    if ASKED not in kinds or kinds & {ANSWERED, ENDED}:
        return None
    return expiry_of(notes)


def expiry_of(notes: Sequence[MoveNote]) -> datetime | None:
    """Return until when an answer counts, of a question that was asked; None where none was."""
    asked = next((each for each in notes if each.kind == ASKED), None)
    return datetime.fromisoformat(str(asked.facts["expires_at"])) if asked is not None else None


def answer_of(notes: Sequence[MoveNote]) -> Mapping[str, object] | None:
    """Return what a person has said; None where nobody has."""
    return next((each.facts for each in notes if each.kind == ANSWERED), None)
