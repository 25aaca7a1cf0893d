"""The fault `freeze`: a disk hangs. Who writes waits, and cannot even be killed; what was read before is still read."""

import errno
import fcntl
import os
from pathlib import Path

from pydantic import Field

from blocks.context import Context
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.drill.model import Undone
from tasks.drill.ports import Aim

_FREEZE, _THAW = 0xC0045877, 0xC0045878
"""*Source:* linux/fs.h, FIFREEZE and FITHAW."""


class Freeze:
    """Implements `Fault`: a file system is frozen, as for a snapshot that never ends.

    Args:
        settings: which one.
        context: where relative paths start.
    """

    class Settings(StrictModel):
        """Settings of the driver `freeze`."""

        mount: str = Field(min_length=1, description="where the file system is mounted, one on a disk of its own")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._mount = context.resolve(settings.mount)

    @property
    def reversible(self) -> bool:
        """Return that it is."""
        return True

    def aim(self) -> Aim:
        """Return which file system it is, so that another one in its place is not thawed.

        Raises:
            Refused: nothing is mounted there, it is the system's own, it cannot be frozen, or somebody has.
        """
        if not os.path.ismount(self._mount):
            raise self._refused("nothing is mounted there")
        device = self._mount.stat().st_dev
        if device in {Path(each).stat().st_dev for each in ("/", "/tmp", "/var", "/run")}:  # noqa: S108 - kept out
            raise self._refused("it is a file system of the system itself: everything would hang, and nobody undo it")
        if self._is_frozen():
            raise self._refused("it is frozen already")
        return {"device": device}

    def inject(self, aim: Aim) -> None:
        """Nothing is written there any more; what was begun is on the disk. *Idempotent:* yes.

        Raises:
            Refused: another file system is there by now.
        """
        if not self._is_there(aim):
            raise self._refused("another file system is mounted there by now")
        self._ask(_FREEZE, but=errno.EBUSY)

    def injected(self, aim: Aim) -> bool:
        """Return whether it is frozen."""
        return self._is_there(aim) and self._is_frozen()

    def undo(self, aim: Aim) -> Undone:
        """Who waits goes on. *Idempotent:* yes."""
        if not self._is_there(aim):
            return Undone("it is not mounted any more")
        return Undone("writes go on" if self._ask(_THAW, but=errno.EINVAL) else "it was not frozen")

    def _is_there(self, aim: Aim) -> bool:
        return os.path.ismount(self._mount) and self._mount.stat().st_dev == aim["device"]

    def _is_frozen(self) -> bool:
        """Return whether freezing it finds it frozen; the kernel has no other way to ask."""
        if not self._ask(_FREEZE, but=errno.EBUSY):
            return True
        self._ask(_THAW, but=errno.EINVAL)
        return False

    def _ask(self, request: int, *, but: int) -> bool:
        """Return whether the kernel did it; not where it says that it was so already."""
        folder = os.open(self._mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(folder, request, 0)
        except OSError as error:
            if error.errno == but:
                return False
            raise self._refused(f"the kernel does not do it: {os.strerror(error.errno or 0)}") from None
        finally:
            os.close(folder)
        return True

    def _refused(self, what: str) -> Refused:
        return Refused(what, on=str(self._mount), next_action="practise on a disk of its own, as root; not on tmpfs")
