"""The fault `stop`: a process hangs, as on a disk that does not answer; its connections stay open."""

import signal

from blocks.context import Context
from blocks.faults import processes
from blocks.faults.kill import ProcessSettings
from tasks.common.errors import Unsafe
from tasks.drill.model import Undone
from tasks.drill.ports import Aim


class Stop:
    """Implements `Fault`: SIGSTOP, and SIGCONT.

    Args:
        settings: which process.
        context: where relative paths start.
    """

    class Settings(ProcessSettings):
        """Settings of the driver `stop`."""

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings, self._context = settings, context

    @property
    def reversible(self) -> bool:
        """Return that it is."""
        return True

    def aim(self) -> Aim:
        """Return which process, and what it has started if that is hit, too.

        Raises:
            Refused: there is none.
        """
        root = self._settings.find(self._context)
        found = processes.with_descendants([root]) if self._settings.children else [root]
        return {"processes": processes.as_data(found)}

    def inject(self, aim: Aim) -> None:
        """None of them does anything, nor what they have started since. *Idempotent:* yes.

        The first one is stopped first: what is stopped starts nobody.
        """
        marks = processes.marks_of(aim)
        for each in marks:
            processes.send(each, signal.SIGSTOP)
        for each in self._now(marks):
            processes.send(each, signal.SIGSTOP)

    def injected(self, aim: Aim) -> bool:
        """Return whether the first of them is stopped."""
        return processes.is_stopped(processes.marks_of(aim)[0])

    def undo(self, aim: Aim) -> Undone:
        """Those that are still there go on, and what they have started. *Idempotent:* yes.

        Raises:
            Unsafe: one stays stopped.
        """
        marks = self._now(processes.marks_of(aim))
        stopped = [each for each in marks if processes.is_stopped(each)]
        for each in stopped:
            processes.send(each, signal.SIGCONT)
        left = [each.pid for each in stopped if processes.is_stopped(each)]
        if left:
            raise Unsafe(
                "processes that a drill has stopped do not go on",
                on=", ".join(map(str, left)),
                state="they are stopped",
                next_action=f"as root: kill -CONT {' '.join(map(str, left))}",
            )
        return Undone(f"{len(stopped)} processes go on" if stopped else "nothing of it was stopped")

    def _now(self, marks: list[processes.Mark]) -> list[processes.Mark]:
        """Return the marks, and with `children` what they have started by now."""
        more = processes.with_descendants(marks) if self._settings.children else []
        return [*marks, *(each for each in more if each not in marks)]
