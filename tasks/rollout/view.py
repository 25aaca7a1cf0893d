"""What was observed, seen from one slot, and what is expected to be observed after a step."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import assert_never

from tasks.rollout.capacity import thousandths
from tasks.rollout.model import (
    Admission,
    Admit,
    AwaitReady,
    Drain,
    Health,
    Instance,
    Member,
    Observed,
    Shift,
    Start,
    Step,
    Stop,
)

_BEST_FIRST = (Health.READY, Health.STARTING, Health.FAILING, Health.DEAD)


@dataclass(frozen=True)
class Side:
    """One slot: what is in it, and how many instances of which release it should hold.

    Args:
        slot: its name.
        release: the release that belongs there; None if none does.
        goal: instances wanted.
        observed: what the rest is read from.
    """

    slot: str
    release: str | None
    goal: int
    observed: Observed

    @cached_property
    def weight(self) -> int:
        """Its share of the traffic, in thousandths of a per cent."""
        return thousandths(self.observed.routing.weights.get(self.slot, 0.0))

    @cached_property
    def members(self) -> dict[int, Member]:
        """The router's members in the slot, by index."""
        return {m.index: m for m in self.observed.routing.members if m.slot == self.slot}

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """The runtime's instances in the slot, whatever release they run."""
        return tuple(i for i in self.observed.instances if i.slot == self.slot)

    @cached_property
    def answering(self) -> frozenset[int]:
        """Indexes that the router sends requests to, if the slot has weight, and that are not known to be dead."""
        dead = {i.index for i in self.instances if i.health is Health.DEAD}
        found = {n for n, m in self.members.items() if m.admission is Admission.IN and m.up}
        return frozenset(found - dead)

    @cached_property
    def serving(self) -> frozenset[int]:
        """Indexes that answer: what capacity is counted in.

        They were ready when they were admitted. From then on the router's own check decides, which fails several times
        before it counts: under overload a single failed probe would otherwise take away capacity that is needed most.
        """
        return frozenset(i.index for i in self.instances) & self.answering

    @cached_property
    def foreign(self) -> tuple[Instance, ...]:
        """Instances of a release that does not belong here, such as an old standby."""
        return tuple(i for i in self.instances if i.release != self.release)

    @cached_property
    def kept(self) -> tuple[Instance, ...]:
        """The best instances of the right release, no more than wanted."""
        right = [i for i in self.instances if i.release == self.release]
        right.sort(key=lambda i: (i.index not in self.serving, _BEST_FIRST.index(i.health), i.index))
        return tuple(right[: self.goal])

    @cached_property
    def surplus(self) -> tuple[Instance, ...]:
        """All instances that are not kept, highest index first."""
        return tuple(sorted((i for i in self.instances if i not in self.kept), key=lambda i: -i.index))

    @property
    def missing(self) -> int:
        """How many instances of the right release are wanted and do not exist."""
        return self.goal - len(self.kept)

    def free(self, count: int) -> list[int]:
        """Return the lowest indexes, from 0, that neither the runtime nor the router knows."""
        taken = {i.index for i in self.instances} | self.members.keys()
        return [n for n in range(len(taken) + count) if n not in taken][:count]


def expected_after(observed: Observed, step: Step) -> Observed:
    """Return what is observed once the step has done what it says."""
    routing = observed.routing
    match step:
        case Start(slot, release, indexes):
            started = [Instance(slot, n, release, f"{slot}:{n}", Health.STARTING) for n in indexes]
            return dataclasses.replace(observed, instances=(*_without(observed, slot, indexes), *started))
        case AwaitReady(slot, indexes):
            ready = [
                dataclasses.replace(i, health=Health.READY) if i.slot == slot and i.index in indexes else i
                for i in observed.instances
            ]
            return dataclasses.replace(observed, instances=tuple(ready))
        case Admit(slot, indexes):
            admitted = [Member(slot, n, f"{slot}:{n}", Admission.IN, up=True, open_requests=0) for n in indexes]
            routing = dataclasses.replace(routing, members=(*_undrained(observed, slot, indexes), *admitted))
        case Shift(weights):
            routing = dataclasses.replace(routing, weights=weights, persisted=True)
        case Drain(slot, indexes):
            routing = dataclasses.replace(routing, members=_undrained(observed, slot, indexes))
        case Stop(slot, indexes):
            return dataclasses.replace(observed, instances=_without(observed, slot, indexes))
        case _:
            assert_never(step)
    return dataclasses.replace(observed, routing=routing)


def _without(observed: Observed, slot: str, indexes: tuple[int, ...]) -> tuple[Instance, ...]:
    return tuple(i for i in observed.instances if i.slot != slot or i.index not in indexes)


def _undrained(observed: Observed, slot: str, indexes: tuple[int, ...]) -> tuple[Member, ...]:
    return tuple(m for m in observed.routing.members if m.slot != slot or m.index not in indexes)
