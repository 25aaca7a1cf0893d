"""The way from what is observed to a stage: the only place where the order of steps is decided.

The order is always: move traffic to where it can be served, grow, prove healthy, admit, shift, drain, stop. Nothing is
remembered, so the same function carries on after a crash, rolls back and repairs. The executor takes the first step of
a plan, observes again and asks again.

*Source:* architecture, Rollout engine; pure decisions over observed state are the pattern of Patroni's quorum.py.
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import assert_never

from tasks.common.errors import Refused
from tasks.common.units import show_percent
from tasks.rollout.capacity import FULL, needed, percent, share, thousandths
from tasks.rollout.model import (
    SLOTS,
    Admit,
    AwaitReady,
    Drain,
    Health,
    Instance,
    Limits,
    Observed,
    Roles,
    Shift,
    Stage,
    Start,
    Step,
    Stop,
)
from tasks.rollout.view import Side, expected_after


def roles(observed: Observed, release: str, previous: str | None = None) -> Roles:
    """Return which slot is whose: stable is where the traffic is, unless all that runs there is the release itself.

    Args:
        observed: what runs and what is routed now.
        release: the candidate.
        previous: the release that was stable before, as the ledger knows it. It is only asked where observation has no
            answer: when no instance of the stable release is left, or several releases are in its slot.
    """
    stable_slot = _stable_slot(observed, release)
    candidate_slot = _other(stable_slot)
    found = Counter(i.release for i in observed.instances if i.slot == stable_slot and i.release != release)
    if previous == release:
        previous = None
    majority = min(found, key=lambda name: (name != previous, -found[name], name), default=previous)
    return Roles(candidate_slot, release, stable_slot, majority)


def promoted(observed: Observed, release: str, replicas: int) -> bool:
    """Return whether the release holds all traffic with all its instances, so that there is nothing to promote."""
    for slot in SLOTS:
        side = Side(slot, release, replicas, observed)
        if side.weight == FULL and not side.foreign and len(side.serving) >= replicas:
            return observed.routing.persisted
    return False


def converge(observed: Observed, stage: Stage, roles: Roles, limits: Limits) -> tuple[Step, ...]:
    """Return the steps from what is observed to the stage, as if each succeeded; none when the stage is reached.

    After each step of the plan: no slot has fewer serving instances than its share of the floor unless it had before,
    no more instances exist than the ceiling unless more did before, and only what has been proven ready gets traffic.

    Raises:
        Refused: no safe step leads there. A plan that is safe at first and stuck later ends where it is stuck, so that
            what can be saved is saved first.
    """
    plan: list[Step] = []
    at_most = 8 * (len(observed.instances) + len(observed.routing.members) + limits.ceiling + 2)
    while len(plan) <= at_most:
        try:
            step = next_step(observed, stage, roles, limits)
        except Refused:
            if plan:
                return tuple(plan)
            raise
        if step is None:
            return tuple(plan)
        plan.append(step)
        observed = expected_after(observed, step)
    raise _situation(observed, stage, roles, limits).stuck(f"the plan does not end; lately: {plan[-8:]}")


def next_step(observed: Observed, stage: Stage, roles: Roles, limits: Limits) -> Step | None:
    """Return the first step from what is observed to the stage; None when the stage is reached.

    Raises:
        Refused: no safe step leads there.
    """
    now = _situation(observed, stage, roles, limits)
    for rule in (_rescue, _retreat, _clear, _grow, _shift, _shrink):
        step = rule(now)
        if step is not None:
            return step
    return None


def describe(step: Step) -> str:
    """Return a step in a few words: 'shift green to 5 %', 'start green 1-2 (3f2c1a9)'."""
    match step:
        case Start(slot, release, indexes):
            return f"start {slot} {_ranges(indexes)} ({release[:12]})"
        case AwaitReady(slot, indexes):
            return f"await {slot} {_ranges(indexes)}"
        case Admit(slot, indexes):
            return f"admit {slot} {_ranges(indexes)}"
        case Shift(weights):
            slot, weight = next(iter(weights.items()))
            return f"shift {slot} to {show_percent(weight)}"
        case Drain(slot, indexes):
            return f"drain {slot} {_ranges(indexes)}"
        case Stop(slot, indexes):
            return f"stop {slot} {_ranges(indexes)}"
        case _:
            assert_never(step)


@dataclass(frozen=True)
class _Situation:
    observed: Observed
    stage: Stage
    candidate: Side
    stable: Side
    target: int
    limits: Limits

    def shift(self, weight: int) -> Shift:
        """Return the shift that gives the candidate this weight, in thousandths of a per cent."""
        return Shift({self.candidate.slot: percent(weight), self.stable.slot: percent(FULL - weight)})

    def spare(self, side: Side) -> int:
        """Return how many of a side's serving instances could go without hurting anybody."""
        return max(0, len(side.serving) - needed(side.weight, self.limits.floor))

    def stuck(self, why: str) -> Refused:
        """Return the error for a state that no safe step leads out of."""
        return Refused(
            f"no safe step leads to stage '{self.stage}': {why}",
            on=f"{self.candidate.slot} and {self.stable.slot}",
            next_action="look at the instances and the router by hand; 'slipway status' shows both",
            facts={
                "serving": f"{len(self.candidate.serving)} candidate, {len(self.stable.serving)} stable",
                "weight": show_percent(percent(self.candidate.weight)),
                "limits": f"at least {self.limits.floor} serving, at most {self.limits.ceiling} instances",
            },
        )


def _situation(observed: Observed, stage: Stage, roles: Roles, limits: Limits) -> _Situation:
    candidate = Side(roles.candidate_slot, roles.candidate_release, stage.candidate, observed)
    stable = Side(roles.stable_slot, roles.stable_release, stage.stable, observed)
    target = thousandths(stage.weight_percent)
    under_traffic = [side for side in (candidate, stable) if side.foreign and side.weight]
    if under_traffic and stable.release is not None:
        # Strangers are among those that serve. Before the stage is gone for, stable serves alone, and without them.
        candidate = dataclasses.replace(candidate, goal=0)
        whole = limits.floor if candidate.weight else max(stage.stable, limits.floor)
        stable = dataclasses.replace(stable, goal=whole)
        target = 0
    now = _Situation(observed, stage, candidate, stable, target, limits)
    if stable.release is None and (stage.stable or not stage.candidate):
        raise now.stuck("no stable release is known")
    return now


def _rescue(now: _Situation) -> Step | None:
    """Traffic that nobody answers goes to whoever is ready, in whatever number."""
    if now.candidate.weight and not now.candidate.answering and now.stable.serving:
        return now.shift(0)
    if now.stable.weight and not now.stable.answering and now.candidate.serving:
        return now.shift(FULL)
    if not now.candidate.weight and not now.stable.weight and now.stable.serving:
        return now.shift(0)
    return None


def _retreat(now: _Situation) -> Step | None:
    """Traffic leaves the candidate as far as stable can take it, before anything is started or stopped."""
    if now.stable.release is None:
        return None
    reachable = max(now.target, FULL - share(len(now.stable.serving), now.limits.floor))
    return now.shift(reachable) if reachable < now.candidate.weight else None


def _clear(now: _Situation) -> Step | None:
    """An old release makes room in the candidate's slot, once that has no traffic."""
    if now.candidate.weight:
        return None
    return _remove(now.candidate, now.candidate.foreign)


def _grow(now: _Situation) -> Step | None:
    """Both sides have every instance that the stage wants, ready and admitted; what users depend on is mended first."""
    sides = [now.stable, now.candidate]
    if FULL // 2 < now.candidate.weight <= now.target:
        sides.reverse()
    room = now.limits.ceiling - len(now.observed.instances)
    for side in sides:
        step = _mend(side, max(0, room))
        if step is None and side.missing:
            step = _make_room(now, side.missing - room)
        if step is not None:
            return step
    if now.stable.missing or now.candidate.missing:
        raise now.stuck("there is no room for another instance, and none can go")
    return None


def _mend(side: Side, room: int) -> Step | None:
    broken = [i.index for i in side.kept if i.health is Health.DEAD]
    ghosts = side.members.keys() - {i.index for i in side.instances}
    stale = {*ghosts, *(side.members.keys() & broken)}
    if side.weight and not side.serving and (side.goal != 1 or side.missing):
        # The router still finds it up, whatever the runtime says: until another one serves, it is all that users have.
        stale -= set(sorted(stale & side.answering)[-1:])
    if stale:
        return Drain(side.slot, tuple(sorted(stale)))
    to_start = [n for n in broken if n not in side.members] + side.free(min(side.missing, room))
    if to_start:
        assert side.release is not None, "a side without a release has no goal"
        return Start(side.slot, side.release, tuple(sorted(to_start)))
    # One that fails its readiness probe is busy, not broken: it gets no requests meanwhile, and no restart either.
    waiting = (Health.STARTING, Health.FAILING)
    unready = [i.index for i in side.kept if i.health in waiting and i.index not in side.serving]
    if unready:
        return AwaitReady(side.slot, tuple(sorted(unready)))
    idle = [i.index for i in side.kept if i.health is Health.READY and i.index not in side.serving]
    return Admit(side.slot, tuple(sorted(idle))) if idle else None


def _make_room(now: _Situation, places: int) -> Step | None:
    """Under the ceiling: what is surplus goes first, as far as the floor allows; else traffic moves so that it may."""
    for side in (now.candidate, now.stable):
        idle = [i for i in side.surplus if i.index not in side.members]
        if idle:
            return Stop(side.slot, _indexes(idle[:places]))
    for side in (now.candidate, now.stable):
        leaving = _drainable(now, side)
        if leaving:
            return Drain(side.slot, _indexes(leaving[:places]))
    reachable = min(now.target, share(len(now.candidate.serving), now.limits.floor))
    return now.shift(reachable) if reachable > now.candidate.weight else None


def _shift(now: _Situation) -> Step | None:
    """The weights are those of the stage, exactly, and would survive the router's restart."""
    routing = now.observed.routing
    if now.stable.release is None and not (now.target or now.candidate.weight or now.stable.weight):
        # Before the very first release there is no traffic, and nobody to give it to.
        return None
    exact = (now.candidate.weight, now.stable.weight) == (now.target, FULL - now.target)
    if exact and routing.persisted:
        return None
    for side, weight in ((now.candidate, now.target), (now.stable, FULL - now.target)):
        if needed(weight, now.limits.floor) > len(side.serving):
            raise now.stuck(f"{side.slot} has too few instances for {show_percent(percent(weight))}")
    return now.shift(now.target)


def _shrink(now: _Situation) -> Step | None:
    """What the stage does not want is out of the router, and then gone."""
    for side in (now.candidate, now.stable):
        leaving = _drainable(now, side)
        if leaving:
            return Drain(side.slot, _indexes(leaving))
        idle = [i for i in side.surplus if i.index not in side.members]
        if idle:
            return Stop(side.slot, _indexes(idle))
        if side.surplus:
            raise now.stuck(f"{side.slot} cannot spare an instance")
    return None


def _drainable(now: _Situation, side: Side) -> list[Instance]:
    spare = now.spare(side)
    useless = [i for i in side.surplus if i.index in side.members and i.index not in side.serving]
    return useless + [i for i in side.surplus if i.index in side.serving][:spare]


def _remove(side: Side, going: Collection[Instance]) -> Step | None:
    members = [i for i in going if i.index in side.members]
    if members:
        return Drain(side.slot, _indexes(members))
    return Stop(side.slot, _indexes(going)) if going else None


def _stable_slot(observed: Observed, release: str) -> str:
    running = {slot: [i.release for i in observed.instances if i.slot == slot] for slot in SLOTS}
    weights = observed.routing.weights
    # The first of equals is blue, so the last slot comes first: the very first candidate starts in blue.
    heaviest = max(
        reversed(SLOTS),
        key=lambda slot: (weights.get(slot, 0.0), sum(found != release for found in running[slot])),
    )
    other = _other(heaviest)
    ours = set(running[heaviest]) == {release}
    abandoned = not running[heaviest] and running[other] and release not in running[other]
    return other if ours or abandoned else heaviest


def _other(slot: str) -> str:
    return SLOTS[1] if slot == SLOTS[0] else SLOTS[0]


def _indexes(instances: Iterable[Instance]) -> tuple[int, ...]:
    return tuple(sorted(i.index for i in instances))


def _ranges(indexes: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for n in sorted(indexes):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
