"""The fault `read-only`: a file system takes no more writes, as after an error of its disk."""

import os
import signal
import time

from pydantic import Field

from blocks.context import Context
from blocks.faults import processes
from blocks.faults.system import attempt, command
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.drill.model import Undone
from tasks.drill.ports import Aim

_NEVER = frozenset({"/", "/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/tmp", "/usr", "/var"})  # noqa: S108 - not used, but kept out
_WITHIN_S = 10.0
_POLL_S = 0.05


class ReadOnly:
    """Implements `Fault`: a file system is mounted again, for reading.

    The kernel does not take writing away from whoever has a file open for it. `end_writers` kills them first.

    Args:
        settings: which one.
        context: where relative paths start.
    """

    class Settings(StrictModel):
        """Settings of the driver `read-only`."""

        mount: str = Field(min_length=1, description="where the file system is mounted")
        end_writers: bool = Field(
            default=False, description="kill what has files open for writing there; without it they stand in the way"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._mount, self._end_writers, self._context = context.resolve(settings.mount), settings.end_writers, context

    @property
    def reversible(self) -> bool:
        """Return that it is."""
        return True

    def aim(self) -> Aim:
        """Return nothing: the mount point says it all.

        Raises:
            Refused: nothing is mounted there, it is a part of the system, or takes no writes already.
        """
        if str(self._mount) in _NEVER or not os.path.ismount(self._mount):
            raise self._refused("it is no mount point, or one of the system itself")
        if self._is_read_only():
            raise self._refused("it takes no writes already")
        return {}

    def inject(self, aim: Aim) -> None:
        """Nothing can be written there. *Idempotent:* yes.

        Raises:
            Refused: somebody has files open for writing; who.
        """
        del aim
        deadline = time.monotonic() + _WITHIN_S
        while not self._is_read_only():
            writers = processes.writers_under(self._mount)
            for each in writers if self._end_writers else ():
                processes.send(each, signal.SIGKILL)
            done = attempt(["mount", "-o", "remount,ro", str(self._mount)], self._context)
            if done.exit_code == 0:
                return
            if not self._end_writers or time.monotonic() > deadline:
                who = ", ".join(str(each.pid) for each in writers) or "nobody that can be seen"
                raise self._refused(f"files there are open for writing by: {who}")
            time.sleep(_POLL_S)

    def injected(self, aim: Aim) -> bool:
        """Return whether nothing can be written there."""
        del aim
        return os.path.ismount(self._mount) and self._is_read_only()

    def undo(self, aim: Aim) -> Undone:
        """It takes writes. *Idempotent:* yes.

        Raises:
            Refused: the system does not do it.
        """
        del aim
        if not os.path.ismount(self._mount):
            return Undone("it is not mounted any more")
        if not self._is_read_only():
            return Undone("it takes writes")
        command(["mount", "-o", "remount,rw", str(self._mount)], self._context, str(self._mount))
        return Undone("it takes writes again")

    def _is_read_only(self) -> bool:
        return bool(os.statvfs(self._mount).f_flag & os.ST_RDONLY)

    def _refused(self, what: str) -> Refused:
        return Refused(what, on=str(self._mount), next_action="practise on a file system of its own")
