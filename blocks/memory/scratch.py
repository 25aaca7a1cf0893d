"""A scratch server in memory, for tests and dry runs. Its folder is a real one: engines restore into it."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from blocks.context import Context
from blocks.memory.database import MemoryDatabase
from tasks.common.backups import OF_POSTGRESQL, Form
from tasks.common.errors import Refused, Unsafe
from tasks.common.model import StrictModel
from tasks.verification.model import Checked, Replayed

_FENCE = "nothing runs, and nothing leads anywhere"


class MemoryScratch:
    """Implements `ScratchServer` with what it was told of: `copy` is what comes back, `pages` and others are findings.

    A folder without any file does not start.
    """

    class Settings(StrictModel):
        """There is nothing to set here; its attributes say what is found."""

    forms = OF_POSTGRESQL

    def __init__(self, settings: Settings, context: Context) -> None:
        self.copy = MemoryDatabase(MemoryDatabase.Settings(), context)
        self.pages = Checked(looked_at={"blocks": 1})
        self.structure = Checked(looked_at={"indexes": 1})
        self.rows = Checked(looked_at={"databases": 1})
        self.serving = False
        self._folder: Path | None = None
        self._consistent = False

    def clean(self) -> tuple[str, ...]:
        """Nothing is left of others: there are none in this process. *Idempotent:* yes."""
        return ()

    def check(self, version: str = "") -> str:
        """Return that nothing is needed. *Idempotent:* yes."""
        del version
        return _FENCE

    def open(self) -> Path:
        """Return an empty folder to restore into. *Idempotent:* no: each call makes one."""
        self.remove()
        self._folder = Path(tempfile.mkdtemp(prefix="slipway-scratch-"))
        return self._folder

    def replay(self, form: Form) -> Replayed:
        """The copy has answered once, and is stopped. *Idempotent:* no."""
        if form not in self.forms:
            raise Refused(f"no server for the form {form.value}", on="memory", next_action="restore a database")
        if not any(self._open().iterdir()):
            raise Unsafe("there is nothing to start", on="memory", state="not served", next_action="restore first")
        self._consistent = True
        return Replayed(0.0, 0.0, "0", _FENCE, True)

    def check_pages(self) -> Checked:
        """Return what `pages` says."""
        if self.serving:
            raise Refused("the copy is not stopped", on="memory", next_action="call 'stop' first")
        return self.pages

    def serve(self) -> str:
        """The copy answers; returns how it is fenced off. *Idempotent:* yes."""
        self._open()
        if not self._consistent:
            raise Unsafe("the copy is not consistent", on="memory", state="not served", next_action="replay it first")
        self.serving = True
        return _FENCE

    def databases(self) -> Sequence[str]:
        """Return the names of the databases of the served copy."""
        return ["memory"]

    def database(self, name: str) -> MemoryDatabase:
        """Return `copy`."""
        del name
        return self.copy

    def address(self, name: str) -> str:
        """Return something that looks like an address."""
        return f"host={self._open()} dbname={name}"

    def check_structure(self) -> Checked:
        """Return what `structure` says."""
        return self.structure

    def read_all(self) -> Checked:
        """Return what `rows` says."""
        return self.rows

    def stop(self) -> None:
        """The copy is stopped. *Idempotent:* yes."""
        self.serving = False

    def remove(self) -> None:
        """Nothing is left of the copy. *Idempotent:* yes."""
        self.serving = self._consistent = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _open(self) -> Path:
        if self._folder is None:
            raise Refused("no scratch server is open", on="memory", next_action="call 'open' first")
        return self._folder
