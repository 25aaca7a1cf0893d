"""What is on record of drills: who said yes to a live one, what each round has come to, how it ended. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

ASKED, ANSWERED, ROUND, ENDED = "asked", "answered", "round", "ended"
"""What a note can be of."""


@dataclass(frozen=True)
class DrillNote:
    """One thing that is on record of a run of `drill`.

    Args:
        run_id: the flow run.
        drill: name of the experiment.
        cluster: what it was practised on.
        kind: one of the words above.
        at: when it was so; aware.
        facts: JSON data, without secrets.
        number: of the round, from 1; 0 for what a run has once.
    """

    run_id: str
    drill: str
    cluster: str
    kind: str
    at: datetime
    facts: Mapping[str, object] = field(default_factory=dict)
    number: int = 0


class DrillNotes(Protocol):
    """What is on record of drills. Kept in the ledger; rows are only added.

    Every method raises Retryable where the ledger does not answer.
    """

    def note(self, note: DrillNote) -> None:
        """It is kept, in order. *Idempotent:* yes, by its run, kind and number; the first one stands.

        Raises:
            Refused: its facts are no JSON data, or its time is naive.
        """
        ...

    def notes(self, run_id: str) -> Sequence[DrillNote]:
        """Return what is on record of a run, in order; the beginning of its id is enough where no other begins so.

        Raises:
            Refused: several runs begin so.
        """
        ...

    def ended(self, drill: str | None, limit: int) -> Sequence[DrillNote]:
        """Return the ends of the latest drills, newest first: those of one experiment, or all."""
        ...


def open_question(notes: Sequence[DrillNote]) -> datetime | None:
    """Return until when an answer counts; None where none is waited for."""
    kinds = {each.kind for each in notes}
    if ASKED not in kinds or kinds & {ANSWERED, ENDED}:
        return None
    return datetime.fromisoformat(str(next(each for each in notes if each.kind == ASKED).facts["expires_at"]))
