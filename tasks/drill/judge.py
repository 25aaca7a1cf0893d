"""What a drill has come to: what became of the cluster, against what was expected and what must be achieved. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from tasks.common.drills import DrillObjectives, Experiment, Figure, Outcome, Phase, Tolerance
from tasks.common.units import show_duration
from tasks.drill.log import Log
from tasks.drill.measure import (
    Both,
    Kind,
    Loss,
    Operation,
    Recovery,
    Result,
    Sample,
    leaders,
    loss,
    outages,
    recovery,
    share_percent,
    unseen_s,
    writable_together,
)
from tasks.drill.model import NodeState

WINDOW_S = 3.0
"""Shares are those of the last seconds."""
_STALE_S = 2.0
"""A node that has said nothing for so long is counted as silent."""
_LATE_S = 0.5
_KINDS = {Figure.WRITES: Kind.WRITE, Figure.READS: Kind.READ, Figure.REQUESTS: Kind.REQUEST}


def figure(log: Log, wanted: Figure, at_s: float) -> float | None:
    """Return a figure at a moment; None where nothing says it: no data is never a pass.

    What was due within the time in which an answer may still come does not count yet.
    """
    if wanted in _KINDS:
        of_kind = [each for each in log.of(_KINDS[wanted]) if each.ended_s <= at_s]
        newest_s = max((each.due_s for each in of_kind), default=0.0)
        if at_s - newest_s > WINDOW_S * 2:
            return None
        return share_percent(of_kind, newest_s - WINDOW_S, newest_s + 1e-9)
    latest = {each.node: each for each in log.samples if each.answered_s <= at_s}
    if not latest or all(at_s - each.answered_s > _STALE_S for each in latest.values()):
        return None
    fresh = [each.state for each in latest.values() if at_s - each.answered_s <= _STALE_S]
    if wanted is Figure.WRITABLE:
        return float(fresh.count(NodeState.WRITABLE))
    return float(len(fresh) - fresh.count(NodeState.SILENT))


@dataclass(frozen=True)
class Seen:
    """A probe, and what it has seen.

    Args:
        name: of the probe.
        phase: when it was looked.
        value: of the figure; None: nobody knows.
        bounds: what it had to be.
        holds: whether it was.
    """

    name: str
    phase: str
    value: float | None
    bounds: str
    holds: bool

    @property
    def shown(self) -> str:
        """Return its value in words."""
        return "not known" if self.value is None else f"{self.value:g}"


def look(experiment: Experiment, log: Log, phase: Phase, at_s: float) -> tuple[Seen, ...]:
    """Return every probe of a phase, as it is at a moment."""
    return tuple(
        Seen(each.name, phase.value, value, each.bounds, value is not None and each.holds(value))
        for each in experiment.hypothesis.probes
        if phase in each.when
        for value in (figure(log, each.figure, at_s),)
    )


def broken_since(log: Log, rules: Sequence[Tolerance], before: Mapping[str, float], at_s: float) -> Mapping[str, float]:
    """Return since when each bound is broken without a break, by name; those that hold are not among them.

    Args:
        log: so far.
        rules: whose bounds they are.
        before: what this returned at the look before; nothing at the first.
        at_s: the moment.
    """
    found = {}
    for rule in rules:
        value = figure(log, rule.figure, at_s)
        if value is None or not rule.holds(value):
            found[rule.name] = before.get(rule.name, at_s)
    return found


def served(operations: Sequence[Operation], since_s: float, sustained_s: float) -> bool:
    """Return whether, after an outage since a moment, service is back and has been for long enough."""
    found = recovery([each for each in operations if each.due_s >= since_s], sustained_s)
    return bool(found.outages) and found.ended


@dataclass(frozen=True)
class Round:
    """What one injection has come to.

    Args:
        number: from 1.
        outcome: what became of the cluster.
        expected: what should have.
        recovery: how long users were without service.
        recovery_reads: the same for readers, or those who send requests.
        loss: what was acknowledged and is not there; None where nobody writes, or where it could not be counted.
        together: times in which two nodes took writes at once.
        unseen_s: how long each node kept silent while another took writes, in seconds.
        leaders: when another node was the one that takes writes, and which.
        probes: what they have seen.
        aborted: the rule that has ended it early; '' if none has.
        late_s: longest time by which the client itself was late.
        by_hand: what a person has to do.
        problems: why it counts as failed; nothing where all is well.
        moments: when what has happened, in seconds of the monotonic clock.
    """

    number: int
    outcome: Outcome
    expected: Outcome
    recovery: Recovery
    recovery_reads: Recovery
    loss: Loss | None
    together: tuple[Both, ...]
    unseen_s: Mapping[str, float]
    leaders: tuple[tuple[float, str], ...]
    probes: tuple[Seen, ...]
    aborted: str
    late_s: float
    by_hand: tuple[str, ...]
    problems: tuple[str, ...]
    moments: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Return whether all was as it had to be."""
        return not self.problems

    @property
    def rto_s(self) -> float:
        """Return how long users were without service; 0 where they never were."""
        return self.recovery.rto_s or 0.0


def outcome_of(log: Log, injected_s: float, undone_s: float, sustained_s: float) -> Outcome:
    """Return what became of the cluster with the fault in place, before anybody undid it.

    Args:
        log: of the client.
        injected_s: when the fault was there.
        undone_s: when it began to be undone.
        sustained_s: so long without a failure is recovered.
    """
    users = _users(log)
    until = [each for each in users if injected_s - WINDOW_S <= each.due_s and each.ended_s <= undone_s]
    found = recovery(until, sustained_s)
    if found.outages and not found.ended:
        return Outcome.PERSON
    before = [node for at_s, node in leaders(log.samples) if at_s <= injected_s]
    after = [node for at_s, node in leaders(log.samples) if at_s <= undone_s]
    moved = bool(before) and bool(after) and before[-1] != after[-1]
    return Outcome.FAILS_OVER if moved else Outcome.RECOVERS


def milestones(log: Log, injecting_s: float, sustained_s: float) -> Mapping[str, float]:
    """Return when, by the log, users noticed the longest outage, another node took writes, and the outage was over.

    Args:
        log: of the client.
        injecting_s: when it was begun to inject the fault.
        sustained_s: so long without a failure is recovered.
    """
    users, found = _users(log), dict[str, float]()
    after = [each for each in outages(users, sustained_s) if each.began_s >= injecting_s - WINDOW_S]
    if after:
        # The one that the RTO is of: short ones may come with the fault, its undoing, or a node that returns.
        longest = max(after, key=lambda each: each.length_s(log.until_s))
        bad = [each for each in users if each.result is not Result.OK and each.due_s >= longest.began_s]
        found["detected"] = min(each.ended_s for each in bad)
        if longest.ended_s is not None:
            found["recovered"] = longest.ended_s
    led = leaders(log.samples)
    before = [node for at_s, node in led if at_s <= injecting_s]
    moved = [at_s for at_s, node in led if at_s > injecting_s and before and node != before[-1]]
    return {**found, "promoted": moved[0]} if moved else found


def judge(
    experiment: Experiment,
    objectives: DrillObjectives,
    log: Log,
    *,
    number: int,
    moments: Mapping[str, float],
    there: frozenset[str] | None,
    probes: Sequence[Seen],
    aborted: str,
    by_hand: Sequence[str],
) -> Round:
    """Return what an injection has come to.

    Args:
        experiment: what was done.
        objectives: what must be achieved.
        log: of the client, to its end.
        number: of the round, from 1.
        moments: 'injecting', 'injected' and 'undone', in seconds of the monotonic clock; others for the timeline.
        there: ids that were read from the leader when all was well again; None: they could not be.
        probes: what they have seen.
        aborted: the rule that has ended it early.
        by_hand: what a person has to do.
    """
    injected_s, undone_s = moments["injected"], moments["undone"]
    others = [each for each in log.operations if each.kind is not Kind.WRITE]
    found = Round(
        number=number,
        outcome=Outcome.PERSON if by_hand else outcome_of(log, injected_s, undone_s, experiment.sustained_s),
        expected=experiment.expect,
        recovery=recovery(_users(log), experiment.sustained_s),
        recovery_reads=recovery(others, experiment.sustained_s),
        loss=loss(log.operations, there) if there is not None and log.of(Kind.WRITE) else None,
        together=writable_together(log.samples),
        unseen_s=unseen_s(log.samples),
        leaders=leaders(log.samples),
        probes=tuple(probes),
        aborted=aborted,
        late_s=log.late_s,
        by_hand=tuple(by_hand),
        problems=(),
        moments={**moments, **milestones(log, moments.get("injecting", injected_s), experiment.sustained_s)},
    )
    wrong = tuple(_wrong(found, experiment, objectives, log))
    return Round(**{**vars(found), "problems": wrong})


def _users(log: Log) -> tuple[Operation, ...]:
    """Return the operations that say whether there is service: writes; without any, what else is sent."""
    return log.of(Kind.WRITE) or log.operations


def _wrong(found: Round, experiment: Experiment, objectives: DrillObjectives, log: Log) -> list[str]:
    wrong = [f"aborted: {found.aborted}"] if found.aborted else []
    if found.outcome is not found.expected:
        wrong.append(f"what came of it was {found.outcome.value}, and {found.expected.value} was expected")
    wrong += [
        f"{each.phase}: {each.name} was {each.shown}, not {each.bounds}" for each in found.probes if not each.holds
    ]
    if not found.recovery.ended:
        wrong.append("service was not back when it ended")
    if found.rto_s > objectives.rto_s and found.expected is not Outcome.PERSON:
        wrong.append(f"RTO {found.rto_s:.1f} s, and {show_duration(objectives.rto_s)} is the objective")
    if found.loss is None and log.of(Kind.WRITE):
        wrong.append("what was lost could not be counted")
    if found.loss is not None and found.loss.lost:
        lost = f"{len(found.loss.lost)} acknowledged writes are lost, of {found.loss.rpo_s:.1f} s"
        if found.loss.rpo_s > objectives.rpo_s or objectives.rpo_s == 0:
            wrong.append(f"{lost}; {show_duration(objectives.rpo_s)} is the objective")
    wrong += [_together(each, log) for each in found.together]
    if found.late_s > _LATE_S:
        wrong.append(f"the client itself was held up for {found.late_s:.1f} s: figures are no better than that")
    if not log.whole:
        wrong.append("the client has died before the end")
    return wrong


def _together(both: Both, log: Log) -> str:
    how = "took writes at once" if both.shown else "may have taken writes at once: one answered too late to say"
    length_s = both.until_s - both.from_s
    return (
        f"SPLIT BRAIN: {both.first} and {both.second} {how}, for {length_s:.2f} s from {log.at(both.from_s):%H:%M:%S}"
    )


@dataclass(frozen=True)
class Spread:
    """How a figure is spread over several rounds, in seconds."""

    count: int
    least_s: float
    median_s: float
    mean_s: float
    ninety_percent_s: float
    largest_s: float

    def __str__(self) -> str:
        """Return "20 times: 18.9 s at least, 20.1 s in the middle ...", up to the largest."""
        return (
            f"{self.count} times: {self.least_s:.1f} s at least, {self.median_s:.1f} s in the middle, "
            f"{self.mean_s:.1f} s on average, {self.ninety_percent_s:.1f} s or less in 90 %, "
            f"{self.largest_s:.1f} s at most"
        )


def spread(values: Sequence[float]) -> Spread | None:
    """Return how values are spread; None of no values."""
    if not values:
        return None
    ninety_s = sorted(values)[max(0, -(-len(values) * 90 // 100) - 1)]
    return Spread(len(values), min(values), median(values), fmean(values), ninety_s, max(values))


def improvements(rounds: Sequence[Round], experiment: Experiment) -> tuple[str, ...]:
    """Return what to do about what was seen, most important first."""
    found = []
    if any(each.shown for one in rounds for each in one.together):
        found.append(
            "two nodes took writes at once: find out which writes differ before anything else; look at fencing"
        )
    if any(one.loss is not None and one.loss.lost for one in rounds):
        found.append(
            "acknowledged writes were lost: synchronous_mode (strict where no write may be lost) prevents that"
        )
    if any(one.loss is not None and one.loss.failed_there for one in rounds):
        found.append("writes that failed are there all the same: clients that try again need ids of their own")
    if any(one.outcome is Outcome.PERSON and one.expected is not Outcome.PERSON for one in rounds):
        found.append("nobody took over: see what each node's log says of the leader's key at that time")
    if any(one.outcome is not Outcome.PERSON and one.expected is Outcome.PERSON for one in rounds):
        found.append("it went better than expected: correct 'expect', so that the next drill watches for that")
    if experiment.person_does and any(one.outcome is Outcome.PERSON for one in rounds):
        found.append(f"nothing and nobody mends this by itself; a person does: {experiment.person_does}")
    if any("RTO" in each for one in rounds for each in one.problems):
        found.append(
            "RTO: look at the timeline for where it went: finding out (ttl), promoting, or routers and clients"
        )
    if any(one.by_hand for one in rounds):
        found.append(f"a person must act: {rounds[-1].by_hand[0] if rounds[-1].by_hand else experiment.undo.how}")
    if any(one.late_s > _LATE_S for one in rounds):
        found.append("give the client a processor of its own, and practise again: it was held up itself")
    return tuple(found)


def silent(samples: Sequence[Sample]) -> frozenset[str]:
    """Return the nodes that did not answer when they were last asked."""
    latest = {each.node: each.state for each in samples}
    return frozenset(node for node, state in latest.items() if state is NodeState.SILENT)
