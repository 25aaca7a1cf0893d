"""The check of a commit that is trusted with nothing: in a room of its own, without secrets, and on no record."""

from collections.abc import Sequence
from pathlib import Path

from blocks.estate import OpenEstate
from blocks.journal import Journal
from blocks.rooms import Room
from blocks.work import Work
from tasks.common.service import ServiceFile
from tasks.release.model import Commit, Evidence, Kind, Outcome
from tasks.release.ports import Source

_LOOK_BACK = 200


class Notes:
    """Keeps the evidence of a check for as long as the check takes: in the ledger are releases and rollbacks only."""

    def __init__(self) -> None:
        self.taken: list[Evidence] = []

    def append(self, evidence: Evidence) -> None:
        """The evidence is kept, in order. *Idempotent:* no."""
        self.taken.append(evidence)


class Check(Work):
    """What the steps of a check share.

    Args:
        estate: where; its builder and scanner start their commands as the room's guest.
        service: the commit's service file, with the scans and accepted findings of the default branch.
        commit: what is checked.
        run_id: the flow run.
        room: where.
        source: where the commit comes from.
    """

    again = "mend it, and push a new commit"

    def __init__(
        self, estate: OpenEstate, service: ServiceFile, commit: Commit, run_id: str, room: Room, source: Source
    ) -> None:
        self.notes = Notes()
        journal = Journal(self.notes, run_id, estate.context.secrets.redact)
        super().__init__(estate, service, commit, journal, room.folder)
        self._room, self._source = room, source

    @property
    def source(self) -> Source:
        """Return where the commit comes from."""
        return self._source

    def check_out(self) -> None:
        """The commit's tree is in the folder, as it was committed, and nothing that ran before. *Idempotent:* yes."""
        self._room.renew()
        super().check_out()
        self._room.hand_over(self.tree)

    def history(self) -> Path:
        """A repository with the commit and its ancestors is in the folder; returns its path. *Idempotent:* yes."""
        into = super().history()
        self._room.hand_over(into)
        return into

    def test_env(self) -> dict[str, str]:
        """Return what the tests are told: nothing that is secret."""
        return dict(self.estate.service(self.service.service).check_env)

    def evidence_of_previous(self) -> Sequence[Evidence] | None:
        """Return what the last release of the service has recorded, to whichever environment; None without one."""
        ledger = self.estate.ledger
        for record in ledger.records(self.service.service, None, _LOOK_BACK):
            if (record.kind, record.outcome) == (Kind.RELEASE, Outcome.SUCCEEDED):
                return ledger.evidence(record.id)
        return None
