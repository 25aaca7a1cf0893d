"""A small world of instances and a router, which refuses every step that would hurt users."""

import dataclasses
from dataclasses import dataclass, field

from tasks.rollout.capacity import FULL, needed, thousandths
from tasks.rollout.model import (
    SLOTS,
    Admission,
    Admit,
    AwaitReady,
    Drain,
    Health,
    Instance,
    Limits,
    Member,
    Observed,
    Roles,
    Routing,
    Shift,
    Stage,
    Start,
    Step,
    Stop,
)
from tasks.rollout.plan import describe, next_step

Place = tuple[str, int]


class Violation(AssertionError):
    """A step broke one of the promises."""


class StepFailed(Exception):
    """A step failed as drivers fail; nothing is wrong with the plan."""


@dataclass
class World:
    """Production, as far as a rollout can see it. `sick` releases never become ready."""

    limits: Limits
    instances: dict[Place, Instance] = field(default_factory=dict)
    members: dict[Place, Member] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SLOTS, 0.0))
    persisted: bool = True
    sick: frozenset[str] = frozenset()
    steps: list[Step] = field(default_factory=list)

    @classmethod
    def serving(cls, release: str, replicas: int, limits: Limits, slot: str = "blue") -> "World":
        world = cls(limits)
        for n in range(replicas):
            world.put(slot, n, release)
        world.weights = {name: 100.0 if name == slot else 0.0 for name in SLOTS}
        return world

    def put(self, slot: str, n: int, release: str, health: Health = Health.READY, *, member: bool = True) -> None:
        self.instances[slot, n] = Instance(slot, n, release, f"{slot}:{n}", health)
        if member:
            up = health is Health.READY
            self.members[slot, n] = Member(slot, n, f"{slot}:{n}", Admission.IN, up=up, open_requests=0)

    def fork(self) -> "World":
        return dataclasses.replace(
            self, instances=dict(self.instances), members=dict(self.members), weights=dict(self.weights), steps=[]
        )

    def observe(self) -> Observed:
        routing = Routing(dict(self.weights), tuple(self.members.values()), self.persisted)
        return Observed(tuple(self.instances.values()), routing)

    def key(self) -> str:
        """Everything that decides what happens next, so that no state is tried twice."""
        return repr(
            (
                sorted(map(repr, self.instances.values())),
                sorted(map(repr, self.members.values())),
                self.weights,
                self.persisted,
            )
        )

    def weight(self, slot: str) -> int:
        return thousandths(self.weights[slot])

    def capacity(self, slot: str) -> int:
        """Instances that the router has admitted and finds up, and that are not dead."""
        return sum(
            m.admission is Admission.IN
            and m.up
            and place in self.instances
            and self.instances[place].health is not Health.DEAD
            for place, m in self.members.items()
            if m.slot == slot
        )

    def deficit(self) -> int:
        """How many serving instances users miss: slot by slot for its weight, and all together for the floor."""
        floor = self.limits.floor
        by_slot = sum(max(0, needed(self.weight(s), floor) - self.capacity(s)) for s in SLOTS)
        return max(by_slot, floor - sum(self.capacity(s) for s in SLOTS if self.weight(s)))

    def lose(self, place: Place, how: str) -> None:
        """Something happens to an instance that nobody asked for."""
        instance, member = self.instances.get(place), self.members.get(place)
        if how == "vanished":
            self.instances.pop(place, None)
        elif how in ("dead", "failing") and instance is not None:
            self.instances[place] = dataclasses.replace(instance, health=Health(how))
        if member is not None:
            self.members[place] = dataclasses.replace(member, up=False)

    def apply(self, step: Step, *, interrupted: bool = False) -> None:
        """Take a step, or half of it; every promise is checked before and after."""
        before, total = self.deficit(), len(self.instances)
        self.steps.append(step)
        self._act(step, interrupted)
        if self.deficit() > before:
            raise Violation(f"{describe(step)}: users now miss {self.deficit()} instances, and missed {before}")
        if len(self.instances) > max(total, self.limits.ceiling):
            raise Violation(f"{describe(step)}: {len(self.instances)} instances are above the ceiling")

    def _act(self, step: Step, interrupted: bool) -> None:
        match step:
            case Shift(weights):
                self._shift(weights)
                self.persisted = not interrupted
            case Start(slot, release, indexes):
                for n in _part(indexes, interrupted):
                    self._start((slot, n), release)
            case AwaitReady(slot, indexes):
                for n in _part(indexes, interrupted):
                    self._await((slot, n))
            case Admit(slot, indexes):
                for n in _part(indexes, interrupted):
                    self._admit((slot, n))
            case Drain(slot, indexes):
                for n in indexes:
                    self._drain((slot, n), done=n in _part(indexes, interrupted))
            case Stop(slot, indexes):
                for n in _part(indexes, interrupted):
                    self._stop((slot, n))

    def _shift(self, weights: dict[str, float]) -> None:
        if sum(map(thousandths, weights.values())) != FULL or set(weights) != set(SLOTS):
            raise Violation(f"{weights} is not all of the traffic")
        for slot, weight in weights.items():
            if weight and not any(
                m.up and m.admission is Admission.IN for m in self.members.values() if m.slot == slot
            ):
                raise Violation(f"weight on {slot}, where nobody answers")
            if thousandths(weight) > self.weight(slot) and not self.capacity(slot):
                raise Violation(f"more weight on {slot}, where nobody is ready")
        self.weights = dict(weights)

    def _start(self, place: Place, release: str) -> None:
        found = self.instances.get(place)
        if found is not None and found.release != release:
            raise Violation(f"{place} runs {found.release}")
        if place in self.members:
            raise Violation(f"{place} would get requests before it is proven ready")
        if found is None or found.health in (Health.DEAD, Health.FAILING):
            self.instances[place] = Instance(*place, release, f"{place[0]}:{place[1]}", Health.STARTING)

    def _await(self, place: Place) -> None:
        found = self.instances[place]
        if found.release in self.sick:
            self.instances[place] = dataclasses.replace(found, health=Health.FAILING)
            raise StepFailed(f"{place} is not ready in time")
        self.instances[place] = dataclasses.replace(found, health=Health.READY)

    def _admit(self, place: Place) -> None:
        if self.instances[place].health is not Health.READY:
            raise Violation(f"{place} is admitted, and has not been proven ready")
        self.members[place] = Member(*place, f"{place[0]}:{place[1]}", Admission.IN, up=True, open_requests=0)

    def _drain(self, place: Place, *, done: bool) -> None:
        if done:
            self.members.pop(place, None)
        elif place in self.members:
            self.members[place] = dataclasses.replace(
                self.members[place], admission=Admission.DRAINING, open_requests=3
            )

    def _stop(self, place: Place) -> None:
        if place in self.members:
            raise Violation(f"{place} is stopped, and the router still knows it")
        self.instances.pop(place, None)


def _part(indexes: tuple[int, ...], interrupted: bool) -> tuple[int, ...]:
    return indexes[: len(indexes) // 2] if interrupted else indexes


def watched_step(world: World, stage: Stage, roles: Roles) -> Step | None:
    """Return the next step, having checked what can only be seen beside the goal."""
    step = next_step(world.observe(), stage, roles, world.limits)
    if step is not None:
        check_earned(world, step, stage, roles)
    return step


def check_earned(world: World, step: Step, stage: Stage, roles: Roles) -> None:
    """Traffic that the stage does not grant is an emergency, and old releases go only when they serve nobody."""
    slot = roles.candidate_slot
    answered = any(
        m.up and m.admission is Admission.IN and (place not in world.instances or not _dead(world, place))
        for place, m in world.members.items()
        if m.slot == roles.stable_slot
    )
    match step:
        case Shift(weights) if thousandths(weights[slot]) > max(thousandths(stage.weight_percent), world.weight(slot)):
            if answered:
                raise Violation(f"{describe(step)}: the candidate has not earned it")
        case Drain(where, indexes) if where == slot and world.weight(slot) and roles.stable_release is not None:
            below = len(world.instances) < world.limits.ceiling
            if below and any(_old_and_serving(world, (slot, n), roles) for n in indexes):
                raise Violation(f"{describe(step)}: an old release is removed under traffic")


def _dead(world: World, place: Place) -> bool:
    return world.instances[place].health is Health.DEAD


def _old_and_serving(world: World, place: Place, roles: Roles) -> bool:
    found, member = world.instances.get(place), world.members[place]
    if found is None or found.release == roles.candidate_release:
        return False
    return found.health is not Health.DEAD and member.up and member.admission is Admission.IN


def run(world: World, stage: Stage, roles: Roles, *, at_most: int = 400) -> list[Step]:
    """Converge as the executor does: observe, take the first step, observe again."""
    taken: list[Step] = []
    while (step := watched_step(world, stage, roles)) is not None:
        if len(taken) >= at_most:
            raise Violation(f"no end in sight: {[describe(s) for s in taken[-12:]]}")
        taken.append(step)
        world.apply(step)
    return taken


def assert_reached(world: World, stage: Stage, roles: Roles) -> None:
    """The world is what the stage asks for, and nothing else is left over."""
    found = {
        slot: sum(i.slot == slot and i.release == release for i in world.instances.values())
        for slot, release in (
            (roles.candidate_slot, roles.candidate_release),
            (roles.stable_slot, roles.stable_release),
        )
    }
    assert found == {roles.candidate_slot: stage.candidate, roles.stable_slot: stage.stable}
    assert len(world.instances) == stage.candidate + stage.stable
    assert {world.capacity(slot) for slot in found if found[slot]} == {found[slot] for slot in found if found[slot]}
    assert world.members.keys() == world.instances.keys()
    assert world.weight(roles.candidate_slot) == thousandths(stage.weight_percent)
    assert world.weight(roles.stable_slot) == FULL - thousandths(stage.weight_percent)
    assert world.persisted
    assert world.deficit() <= 0
