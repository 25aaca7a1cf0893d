"""A server in memory that is restored into: its folder is real, everything else is said."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from blocks.context import Context
from blocks.targets.journalled import JournalledTarget
from blocks.targets.records import is_marked, mark
from tasks.common.backups import Form
from tasks.common.errors import Refused
from tasks.common.masking import Masking
from tasks.common.model import StrictModel
from tasks.restore.model import Journal, Phase, Recovered


class MemoryTarget(JournalledTarget):
    """Implements `TargetServer`, for dry runs and tests. Whether its server runs is kept for as long as the process.

    Args:
        settings: its folder.
        context: resolves it; with a grant, it may be changed.
    """

    class Settings(StrictModel):
        """Settings of the driver `memory`."""

        data: str = Field(min_length=1, description="the data folder")

    forms = frozenset(Form)
    left_beside = ()
    open_folders: ClassVar[set[Path]] = set()
    """Folders whose server answers on its address, of all targets of this process."""

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(context.resolve(settings.data), context)
        self._recovered = False

    @property
    def where(self) -> str:
        """Return which one it is."""
        return f"{self._data} on memory"

    @property
    def address(self) -> str:
        """Return something that looks like an address."""
        return "memory:0"

    def fetches_into(self, form: Form) -> Path:
        """Return the data folder."""
        del form
        return self._data

    def check(self, form: Form, version: str) -> None:
        """Nothing is needed. *Idempotent:* yes."""
        del form, version

    def recover(self, form: Form, version: str) -> Recovered:
        """It is seen by nobody. *Idempotent:* yes."""
        del form, version
        if not self.observe().filled:
            raise Refused("there is nothing to recover", on=self.where, next_action="restore into the folder first")
        self._note(replace(self._journal, phase=Phase.RECOVERING))
        self._recovered = True
        return Recovered("memory", "in memory")

    def databases(self) -> Sequence[str]:
        """Return the names of the databases of the recovered server."""
        return ["memory"]

    def heartbeat(self, database: str) -> datetime | None:
        """Return that there is none."""
        del database
        return None

    def mask(self, database: str, masking: Masking, key: str, say: Callable[[str], None]) -> Sequence[str]:
        """Return that there was nothing to mask. *Idempotent:* yes."""
        del database, masking, key
        self._note(replace(self._journal, phase=Phase.MASKING))
        say("there is nothing to mask in memory")
        return ["there was nothing to mask"]

    def open(self, say: Callable[[str], None]) -> None:
        """The server answers. *Idempotent:* yes."""
        self._fence.claim()
        if not self._recovered:
            raise Refused("it has not recovered", on=self.where, next_action="recover it first")
        mark(self._data, self._journal.run_id)
        self._note(replace(self._journal, phase=Phase.OPENING, opened=True))
        self.open_folders.add(self._data)
        say("it answers, in memory")

    def carry_on(self) -> None:
        """What a dead run had restored whole is up. *Idempotent:* yes."""
        self._fence.claim()
        self.open_folders.add(self._data)
        self.finish()

    def _put_up(self, journal: Journal | None) -> bool:
        return is_marked(self._data, journal)

    def _runs(self) -> bool:
        return self._data in self.open_folders

    def _answers(self) -> bool:
        return self._runs()

    def _unfit(self) -> str:
        return ""

    def _stop(self) -> None:
        self.open_folders.discard(self._data)

    def _end(self, *, opened: bool) -> None:
        del opened
        self.open_folders.discard(self._data)

    def _start_former(self, journal: Journal) -> str:
        if journal.was_running:
            self.open_folders.add(self._data)
        return "the former state is in its place again"
