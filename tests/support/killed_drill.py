"""A drill in a process of its own, which kills itself with -9 at a moment: `python -m ... ESTATE DRILL [MOMENT]`."""

import sys
from collections.abc import Callable
from typing import Any

from blocks.drills.undo_journal import UndoJournal
from blocks.faults.cut import Cut
from blocks.faults.kill import Kill
from blocks.faults.link_down import LinkDown
from blocks.faults.stop import Stop
from flows.drill import drill
from tasks.drill import fault_steps, steps, watch_steps
from tasks.drill.request import DrillRequest
from tests.support.processes import die

MOMENTS = {
    "the gate": (steps, "require_gate"),
    "the steady state": (watch_steps, "see_steady_state"),
    "the entry in the journal": (UndoJournal, "add"),
    "the fault": (Stop, "inject"),
    "the first fault of two": (Cut, "inject"),
    "the second fault of two": (Kill, "inject"),
    "the loss of a site": (LinkDown, "inject"),
    "the watching": (watch_steps, "watch"),
    "the undoing": (UndoJournal, "undo"),
    "the recovery": (watch_steps, "see_recovered"),
}
"""After what it dies, and what that is called where."""


def _then_die(act: Callable[..., Any]) -> Callable[..., Any]:
    def acted(*given: Any, **named: Any) -> Any:
        act(*given, **named)
        die(now=True)

    return acted


def main() -> None:
    """The drill has run until the moment; without one, to its end."""
    estate, name, *moments = sys.argv[1:]
    for moment in moments:
        owner, attribute = MOMENTS[moment]
        setattr(owner, attribute, _then_die(getattr(owner, attribute)))
    # The reaper undoes so much later than the longest time of a drill: a test does not wait for that.
    fault_steps.GRACE_S = 2.0
    drill(DrillRequest(drill=name, estate=estate))


if __name__ == "__main__":
    main()
