"""What is on record of restores: who asked, who said yes, how it ended. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

ASKED, ANSWERED, ENDED = "asked", "answered", "ended"
"""What a note can be of."""


@dataclass(frozen=True)
class RestoreNote:
    """One thing that is on record of a run of `restore`.

    Args:
        run_id: the flow run.
        plan: name of the backup plan.
        target: name of the target.
        kind: one of the words above.
        at: when it was so; aware.
        facts: JSON data, without secrets.
    """

    run_id: str
    plan: str
    target: str
    kind: str
    at: datetime
    facts: Mapping[str, object] = field(default_factory=dict)


class Restores(Protocol):
    """What is on record of restores. Kept in the ledger; rows are only added.

    Every method raises Retryable where the ledger does not answer.
    """

    def note(self, note: RestoreNote) -> None:
        """It is kept, in order. *Idempotent:* yes, by its run and kind; the first one stands.

        Raises:
            Refused: its facts are no JSON data, or its time is naive.
        """
        ...

    def notes(self, run_id: str) -> Sequence[RestoreNote]:
        """Return what is on record of a run, in order; the beginning of its id is enough where no other begins so.

        Raises:
            Refused: several runs begin so.
        """
        ...


def open_question(notes: Sequence[RestoreNote]) -> datetime | None:
    """Return until when an answer counts; None where none is waited for."""
    kinds = {each.kind for each in notes}
    if ASKED not in kinds or kinds & {ANSWERED, ENDED}:
        return None
    return expiry_of(notes)


def expiry_of(notes: Sequence[RestoreNote]) -> datetime | None:
    """Return until when an answer counts, of a question that was asked; None where none was."""
    asked = next((each for each in notes if each.kind == ASKED), None)
    return datetime.fromisoformat(str(asked.facts["expires_at"])) if asked is not None else None


def answer_of(notes: Sequence[RestoreNote]) -> Mapping[str, object] | None:
    """Return what a person has said; None where nobody has."""
    return next((each.facts for each in notes if each.kind == ANSWERED), None)
