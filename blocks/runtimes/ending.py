"""Ending programs of a supervisord for good: asked, killed, removed."""

import time
from collections.abc import Iterable

from blocks.runtimes.supervisor_rpc import Process, State, Supervisor
from tasks.common.errors import Retryable

_TICK_S = 0.1
_KILLED_WITHIN_S = 10.0


def end(supervisor: Supervisor, names: Iterable[str], grace_s: float) -> None:
    """The programs do not run and supervisord does not know them any more; their files are untouched.

    They are asked side by side, and killed with all their children after grace_s seconds.

    *Idempotent:* yes.

    Raises:
        LeaseLost: there is a newer lease; what was asked to end before goes on ending.
        Retryable: supervisord does not answer, or a program does not end though killed.
    """
    left = set(names)
    kill_at = time.monotonic() + grace_s
    while True:
        overdue_s = time.monotonic() - kill_at
        processes = supervisor.processes()
        left = {name for name in left if name in processes and not _ended(supervisor, processes[name], overdue_s)}
        if not left:
            return
        if overdue_s > _KILLED_WITHIN_S:
            raise Retryable(
                "a program did not end, though killed",
                on=", ".join(sorted(left)),
                state="it still runs, and is not restarted when it ends",
                next_action="look at the process (state D means that it waits for a disk), then run the flow again",
            )
        time.sleep(_TICK_S)


def _ended(supervisor: Supervisor, process: Process, overdue_s: float) -> bool:
    """Take the next step on the way out; return whether the program has been removed."""
    match process.state:
        case State.STARTING | State.RUNNING | State.BACKOFF:
            supervisor.ask_to_stop(process.name)
        case State.STOPPING:
            if overdue_s >= 0:
                supervisor.kill(process)
        case _:
            return supervisor.remove(process.name)
    return False
