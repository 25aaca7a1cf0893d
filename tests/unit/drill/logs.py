"""Logs of clients that were never run: what they say is known."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tasks.drill.log import Log
from tasks.drill.measure import Kind, Operation, Result, Sample
from tasks.drill.model import NodeState

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RATE = 20


def log(
    length_s: float,
    failed: Sequence[tuple[float, float]] = (),
    leader: Mapping[str, tuple[float, float]] | None = None,
    dead: Mapping[str, tuple[float, float]] | None = None,
    nodes: Sequence[str] = ("a1", "a2", "a3"),
) -> Log:
    """Return a log of writers and readers.

    Args:
        length_s: of all of it.
        failed: times in which writes fail.
        leader: when each node takes writes; a1 always, if left out.
        dead: when a node does not answer.
        nodes: those that there are.
    """
    leads = leader or {nodes[0]: (0.0, length_s)}
    operations = []
    for number in range(int(length_s * RATE)):
        due_s = number / RATE
        bad = any(begin <= due_s < end for begin, end in failed)
        result = Result.FAIL if bad else Result.OK
        operations.append(Operation(f"w{number:06}", Kind.WRITE, due_s, due_s + 0.01, result))
        operations.append(Operation(f"r{number:06}", Kind.READ, due_s, due_s + 0.01, Result.OK))
    samples = []
    for node in nodes:
        for number in range(int(length_s * 5)):
            at_s = number / 5
            state = NodeState.WRITABLE if _within(leads.get(node), at_s) else NodeState.READ_ONLY
            if _within((dead or {}).get(node), at_s):
                state = NodeState.SILENT
            samples.append(Sample(node, at_s, at_s + 0.01, state))
    return Log("run1", NOON, 0.0, tuple(operations), tuple(samples), 0.0, whole=True)


def _within(span: tuple[float, float] | None, at_s: float) -> bool:
    return span is not None and span[0] <= at_s < span[1]
