"""The fault `destroy-data`: a data folder is empty. Nothing brings back what was in it but another copy."""

import shutil
from pathlib import Path

from pydantic import Field

from blocks.context import Context
from blocks.faults import processes
from blocks.faults.system import command
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.units import PositiveDuration
from tasks.drill.model import Undone
from tasks.drill.ports import Aim

_MARK = "PG_VERSION"


class DestroyData:
    """Implements `Fault`: everything in a data folder is removed. It is undone by a command, or by a person.

    Args:
        settings: which folder.
        context: where relative paths start.
    """

    class Settings(StrictModel):
        """Settings of the driver `destroy-data`."""

        folder: str = Field(min_length=1, description="data folder of a PostgreSQL server that does not run")
        rebuild: list[str] = Field(
            default_factory=list, description="program and arguments that fill it anew; without it a person does"
        )
        rebuild_within_s: PositiveDuration = Field(
            default=3600.0, alias="rebuild_within", description="longest time that it may take"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings, self._context = settings, context
        self._folder = context.resolve(settings.folder)

    @property
    def reversible(self) -> bool:
        """Return whether a command fills it anew."""
        return bool(self._settings.rebuild)

    def aim(self) -> Aim:
        """Return which folder it is.

        Raises:
            Refused: it is none of a server, it is a link, or its server runs.
        """
        if self._folder.is_symlink() or not (self._folder / _MARK).is_file():
            raise self._refused(f"it is no data folder: it has no {_MARK}, or it is a link")
        self._require_stopped()
        return {"folder": str(self._folder)}

    def inject(self, aim: Aim) -> None:
        """Nothing is in it. *Idempotent:* yes.

        Raises:
            Refused: its server runs.
        """
        if self.injected(aim):
            return
        self._require_stopped()
        folder = Path(aim["folder"])
        # What says that it is a data folder goes last: half removed, it is removed by the next call.
        for each in sorted(folder.iterdir(), key=lambda each: each.name == _MARK):
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink(missing_ok=True)

    def injected(self, aim: Aim) -> bool:
        """Return whether there is no data folder there."""
        return not (Path(aim["folder"]) / _MARK).exists()

    def undo(self, aim: Aim) -> Undone:
        """It is filled anew, where a command does that. *Idempotent:* as the command is; a full folder is left alone.

        Raises:
            Refused: the command has failed.
        """
        if not self.injected(aim):
            return Undone("the data are there")
        if not self._settings.rebuild:
            return Undone("nothing can be undone", by_hand=f"fill {aim['folder']} from a backup, or from another node")
        command(self._settings.rebuild, self._context, aim["folder"], self._settings.rebuild_within_s)
        return Undone("it was filled anew")

    def _require_stopped(self) -> None:
        file = self._folder / "postmaster.pid"
        if not file.exists():
            return
        try:
            processes.find(file, None, str(file))
        except Refused:
            return
        raise self._refused("its server runs: kill it first, in the same experiment")

    def _refused(self, what: str) -> Refused:
        return Refused(what, on=str(self._folder), next_action="check the setting; nothing was removed")
