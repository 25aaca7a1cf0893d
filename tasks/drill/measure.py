"""What the client's log says: how long users were without service, what was lost, who took writes. Pure.

Times are seconds of one monotonic clock. An operation is due whether or not the ones before it were answered, so that a
server that hangs is seen by everyone who would have come meanwhile.

*Source:* RTO and RPO as reference/backup-dr, section 4: from the first failed to the first of a sustained run of
successes; acknowledged ids that are missing after the old leader has rejoined. "Unknown" is Jepsen's `info`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from tasks.drill.model import NodeState


class Kind(StrEnum):
    """What was sent."""

    WRITE = "write"
    READ = "read"
    REQUEST = "request"


class Result(StrEnum):
    """How an operation went, as far as its sender can know."""

    OK = "ok"
    """It was acknowledged in time."""
    FAIL = "fail"
    """It was not done, and never will be."""
    UNKNOWN = "unknown"
    """It was sent, and no answer came: it may have been done, or be done yet."""


@dataclass(frozen=True)
class Operation:
    """One operation of the client.

    Args:
        id: unique.
        kind: what was sent.
        due_s: when it was to be sent.
        ended_s: when its result was known, at the latest when nobody waited for it any longer.
        result: how it went.
        why: what was wrong, in a few words.
    """

    id: str
    kind: Kind
    due_s: float
    ended_s: float
    result: Result
    why: str = ""


@dataclass(frozen=True)
class Outage:
    """A time without service.

    Args:
        began_s: when the first operation that was not done was due.
        ended_s: when the first of a sustained run of successes was acknowledged; None: it had not ended.
        failed: operations that were not done in it.
    """

    began_s: float
    ended_s: float | None
    failed: int

    def length_s(self, until_s: float) -> float:
        """Return how long it was; of one that has not ended, how long it had been at that time."""
        return (self.ended_s if self.ended_s is not None else until_s) - self.began_s


def outages(operations: Iterable[Operation], sustained_s: float) -> tuple[Outage, ...]:
    """Return the times without service, in order.

    One ends with the first success among the operations that were due after the last failed one, if all that were due
    within `sustained_s` were done, and the client went on for so long. A success between failures ends nothing. The
    first to succeed need not be the first that was due: who came later may be served while others still wait.

    Args:
        operations: of one kind; in any order.
        sustained_s: so long without a failure is recovered.
    """
    ordered = sorted(operations, key=lambda each: (each.due_s, each.id))
    bad = [position for position, each in enumerate(ordered) if each.result is not Result.OK]
    found: list[Outage] = []
    first = 0
    for number, position in enumerate(bad):
        end = bad[number + 1] if number + 1 < len(bad) else len(ordered)
        if end == position + 1:
            continue  # the next one failed, too
        success = ordered[position + 1]
        until_s = ordered[min(end, len(ordered) - 1)].due_s
        if until_s - success.due_s >= sustained_s:
            began_s = ordered[bad[first]].due_s
            back_s = min(each.ended_s for each in ordered[position + 1 : end])
            found.append(Outage(began_s, max(back_s, began_s), number + 1 - first))
            first = number + 1
    if first < len(bad):
        found.append(Outage(ordered[bad[first]].due_s, None, len(bad) - first))
    return tuple(found)


@dataclass(frozen=True)
class Recovery:
    """How long users were without service.

    Args:
        rto_s: of the longest outage; None where service was never interrupted; of one that has not ended, so far.
        ended: False where service was not back when the log ended.
        outages: all of them, in order.
    """

    rto_s: float | None
    ended: bool
    outages: tuple[Outage, ...]


def recovery(operations: Sequence[Operation], sustained_s: float) -> Recovery:
    """Return how long users were without service: the longest outage, and whether all have ended."""
    found = outages(operations, sustained_s)
    until_s = max((each.ended_s for each in operations), default=0.0)
    longest_s = max((each.length_s(until_s) for each in found), default=None)
    return Recovery(longest_s, all(each.ended_s is not None for each in found), found)


@dataclass(frozen=True)
class Loss:
    """What was acknowledged, and is not there.

    Args:
        lost: ids, in the order in which they were acknowledged.
        seconds: from the acknowledgement of the first that is lost to that of the last; None where nothing is lost.
        reaches_back_s: from the acknowledgement of the first that is lost to the first failure that users saw; None
            where nothing is lost, or nothing failed.
        unknown_there: of those that nobody had an answer for, how many are there: no loss.
        failed_there: ids that were said to have failed and are there all the same; users who tried again wrote twice.
        unsent_there: ids that are there, and that the log does not have: lines of it are missing.
        acknowledged: how many were acknowledged.
    """

    lost: tuple[str, ...]
    seconds: float | None
    reaches_back_s: float | None
    unknown_there: int
    failed_there: tuple[str, ...]
    unsent_there: tuple[str, ...]
    acknowledged: int

    @property
    def rpo_s(self) -> float:
        """Return the age of the oldest lost write when users saw the first failure, at least that of the others."""
        return max(self.seconds or 0.0, self.reaches_back_s or 0.0)


def loss(operations: Iterable[Operation], there: Collection[str]) -> Loss:
    """Return which acknowledged writes are missing.

    Args:
        operations: of the client; only writes count.
        there: ids that were read from the leader after the old leader has rejoined.
    """
    present = frozenset(there)
    writes = [each for each in operations if each.kind is Kind.WRITE]
    known = sorted((each for each in writes if each.result is Result.OK), key=lambda each: (each.ended_s, each.id))
    lost = [each for each in known if each.id not in present]
    failed = [each for each in writes if each.result is Result.FAIL]
    seconds = lost[-1].ended_s - lost[0].ended_s if lost else None
    bad = [each.due_s for each in writes if each.result is not Result.OK and lost and each.due_s >= lost[0].due_s]
    back_s = max(min(bad) - lost[0].ended_s, 0.0) if bad else None
    return Loss(
        lost=tuple(each.id for each in lost),
        seconds=seconds,
        reaches_back_s=back_s,
        unknown_there=sum(each.id in present for each in writes if each.result is Result.UNKNOWN),
        failed_there=tuple(sorted(each.id for each in failed if each.id in present)),
        unsent_there=tuple(sorted(present - {each.id for each in writes})),
        acknowledged=len(known),
    )


def written_since(operations: Iterable[Operation], moment_s: float) -> tuple[str, ...]:
    """Return the ids of the writes that were acknowledged after a moment, in that order.

    Whoever restores to the moment has to carry them over. One that was done just before it, and acknowledged just
    after, is among them: carried over by its id it does no harm.
    """
    known = [each for each in operations if each.kind is Kind.WRITE and each.result is Result.OK]
    return tuple(each.id for each in sorted(known, key=lambda each: each.ended_s) if each.ended_s >= moment_s)


@dataclass(frozen=True)
class Sample:
    """What a node has said: its state was this at some moment between the two."""

    node: str
    asked_s: float
    answered_s: float
    state: NodeState


@dataclass(frozen=True)
class Both:
    """Two nodes that took writes at once.

    Args:
        first: one node.
        second: the other.
        from_s: from when.
        until_s: until when.
        shown: True: beyond doubt; False: the answers took so long that it cannot be excluded.
    """

    first: str
    second: str
    from_s: float
    until_s: float
    shown: bool


def writable_together(samples: Iterable[Sample]) -> tuple[Both, ...]:
    """Return the times in which two nodes took writes at once, in order.

    A node that says so twice running is taken to have been so in between. It surely was from the end of the first
    answer to the start of the last question, and may have been from the first question to the last answer.
    """
    spans = {node: _spans(found) for node, found in _by_node(samples).items()}
    names = sorted(spans)
    found = []
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            for one in spans[first]:
                for other in spans[second]:
                    both = _overlap(first, second, one, other)
                    if both is not None:
                        found.append(both)
    return tuple(sorted(found, key=lambda each: (each.from_s, each.first, each.second)))


def leaders(samples: Iterable[Sample]) -> tuple[tuple[float, str], ...]:
    """Return when another node than before was the one that takes writes, and which; the first of them included."""
    found: list[tuple[float, str]] = []
    for each in sorted(samples, key=lambda each: each.answered_s):
        if each.state is NodeState.WRITABLE and (not found or found[-1][1] != each.node):
            found.append((each.answered_s, each.node))
    return tuple(found)


@dataclass(frozen=True)
class _Span:
    first: Sample
    last: Sample


def _by_node(samples: Iterable[Sample]) -> Mapping[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for each in sorted(samples, key=lambda each: (each.asked_s, each.answered_s)):
        found.setdefault(each.node, []).append(each)
    return found


def _spans(samples: Sequence[Sample]) -> list[_Span]:
    spans: list[_Span] = []
    before: Sample | None = None
    for each in samples:
        if each.state is NodeState.WRITABLE:
            goes_on = before is not None and before.state is NodeState.WRITABLE
            spans = [*spans[:-1], _Span(spans[-1].first, each)] if goes_on else [*spans, _Span(each, each)]
        before = each
    return spans


def _overlap(first: str, second: str, one: _Span, other: _Span) -> Both | None:
    sure = max(one.first.answered_s, other.first.answered_s), min(one.last.asked_s, other.last.asked_s)
    if sure[0] <= sure[1]:
        return Both(first, second, *sure, shown=True)
    may = max(one.first.asked_s, other.first.asked_s), min(one.last.answered_s, other.last.answered_s)
    return Both(first, second, *may, shown=False) if may[0] <= may[1] else None


def unseen_s(samples: Iterable[Sample]) -> Mapping[str, float]:
    """Return how long each node kept silent while another one took writes: what it did then, nobody knows.

    Of a node that was killed that is as it should be. One that was only cut off from us may have taken writes.
    """
    known = _by_node(samples)
    spans = {node: [(one.first.asked_s, one.last.answered_s) for one in _spans(found)] for node, found in known.items()}
    found = {}
    for node, series in known.items():
        silent = [(each.asked_s, later.asked_s) for each, later in pairwise(series) if each.state is NodeState.SILENT]
        others = [span for other, own in spans.items() if other != node for span in own]
        found[node] = sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in silent for b in others)
    return found


@dataclass(frozen=True)
class Second:
    """One second of a drill, for plots.

    Args:
        at_s: its beginning.
        done: operations that were due in it and done.
        failed: and that were not.
    """

    at_s: float
    done: int
    failed: int


def by_second(operations: Iterable[Operation], from_s: float, until_s: float) -> tuple[Second, ...]:
    """Return every whole second of a time, also those in which nothing was due."""
    count = max(int(until_s - from_s) + 1, 0)
    done, failed = [0] * count, [0] * count
    for each in operations:
        slot = int((each.due_s - from_s) // 1)
        if 0 <= slot < count:
            (done if each.result is Result.OK else failed)[slot] += 1
    return tuple(Second(from_s + number, done[number], failed[number]) for number in range(count))


def share_percent(operations: Iterable[Operation], from_s: float, until_s: float) -> float | None:
    """Return the share of the operations due in a time that were done, in per cent; None where none was due."""
    within = [each for each in operations if from_s <= each.due_s < until_s]
    return 100 * sum(each.result is Result.OK for each in within) / len(within) if within else None


def longest_gap_s(operations: Iterable[Operation]) -> float:
    """Return the longest time in which the client itself was to send nothing: it should be little more than its pace.

    A client that was starved of the processor has measured itself.
    """
    times = sorted(each.due_s for each in operations)
    return max((later - earlier for earlier, later in pairwise(times)), default=0.0)
