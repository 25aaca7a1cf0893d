"""A throw-away folder for one restored copy of files, or of a Redis snapshot."""

import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from blocks.context import Context
from blocks.scratch.contents import FORMS, look_at
from blocks.scratch.rooms import Room, clear_dead
from tasks.common.backups import Form
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.verification.model import Checked, Replayed
from tasks.verification.ports import Database

_FENCE = "nothing is started"


class FolderScratch:
    """Implements `ScratchServer`. Nothing is started: what came back is read, in a folder that others cannot enter.

    Args:
        settings: where.
        context: resolves paths, and finds programs.
    """

    class Settings(StrictModel):
        """Settings of the driver `folder`."""

        folder: str = Field(min_length=1, description="copies are restored below it; it needs room for one")

    forms = FORMS

    def __init__(self, settings: Settings, context: Context) -> None:
        self._place, self._context = context.resolve(settings.folder), context
        self._room: Room | None = None

    def clean(self) -> tuple[str, ...]:
        """Nothing is left of verifications that were killed; returns what was removed. *Idempotent:* yes."""
        return clear_dead(self._place)

    def check(self, version: str = "") -> str:
        """A copy could be restored here; returns how it would be fenced off. *Idempotent:* yes.

        Raises:
            Refused: there can be no folder.
        """
        del version
        Room(self._place, for_server=False).leave()
        return _FENCE

    def open(self) -> Path:
        """Return an empty folder to restore into. *Idempotent:* no: each call makes one."""
        self.remove()
        self._room = Room(self._place, for_server=False)
        self._restored.mkdir(mode=0o700)
        return self._restored

    def replay(self, form: Form) -> Replayed:
        """What came back was read to its end. *Idempotent:* yes.

        Raises:
            Unsafe: there is nothing, or a snapshot is not whole.
            Refused: the form is of something else, or a program is missing.
        """
        began = time.monotonic()
        found = look_at(self._restored, form, self._context)
        return Replayed(time.monotonic() - began, 0.0, found.version, _FENCE, True, found.said)

    def stop(self) -> None:
        """Nothing runs. *Idempotent:* yes."""

    def remove(self) -> None:
        """Nothing is left of the copy and its folder. *Idempotent:* yes."""
        if self._room is not None:
            self._room.leave()
            self._room = None

    def check_pages(self) -> Checked:
        """Raise Refused: there are no pages."""
        raise self._no_database()

    def serve(self) -> str:
        """Raise Refused: nothing is started."""
        raise self._no_database()

    def databases(self) -> Sequence[str]:
        """Raise Refused: there is no database."""
        raise self._no_database()

    def database(self, name: str) -> Database:
        """Raise Refused: there is no database."""
        raise self._no_database()

    def address(self, name: str) -> str:
        """Raise Refused: there is no database."""
        raise self._no_database()

    def check_structure(self) -> Checked:
        """Raise Refused: there are no tables."""
        raise self._no_database()

    def read_all(self) -> Checked:
        """Raise Refused: there are no tables."""
        raise self._no_database()

    @property
    def _restored(self) -> Path:
        if self._room is None:
            raise Refused("no scratch folder is open", on=str(self._place), next_action="call 'open' first")
        return self._room.folder / "restored"

    def _no_database(self) -> Refused:
        return Refused(
            "what was restored is no database, and nothing is started on it",
            on=str(self._restored),
            next_action="leave out what looks at databases, as the ladder does for this form",
        )
