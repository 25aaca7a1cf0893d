"""Shares and members in memory, for tests and dry runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from pydantic import Field

from blocks.context import Context
from blocks.fence import held, refuse_older
from blocks.routers.shares import shares
from tasks.common.errors import Refused, Retryable
from tasks.common.model import StrictModel, Target
from tasks.rollout.model import SLOTS, Admission, Member, Routing
from tasks.rollout.ports import Endpoint


@dataclass
class MemoryWorld:
    """What a router would do: weights, members, addresses that answer no health check, and the newest lease's token."""

    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SLOTS, 0.0))
    members: dict[tuple[str, int], Member] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    token: int = 0


class MemoryRouter:
    """Sends nothing anywhere, and remembers what it would do for as long as the process lives. Nothing takes any time.

    Args:
        settings: which world.
        context: whose traffic it is.
    """

    class Settings(StrictModel):
        """Settings of the driver `memory`."""

        world: str = Field(default="", description="routers of a target with the same world do the same")
        capacity: int = Field(default=100, ge=1, description="members that each slot has room for")

    worlds: ClassVar[dict[tuple[str, Target], MemoryWorld]] = {}
    """What the routers do, by the world's name and the target."""

    def __init__(self, settings: Settings, context: Context) -> None:
        assert context.target is not None, "a router serves one service in one environment"
        self._target = context.target
        self._grant = context.grant
        self._capacity = settings.capacity
        self._world_name = settings.world

    @property
    def _world(self) -> MemoryWorld:
        return self.worlds.setdefault((self._world_name, self._target), MemoryWorld())

    def observe(self) -> Routing:
        """Return weights and members; they last as long as the process, and nothing outlasts that."""
        members = tuple(self._seen(member) for _, member in sorted(self._world.members.items()))
        return Routing(dict(self._world.weights), members)

    def claim(self) -> None:
        """No holder of an older lease can change anything in this world any more.

        *Idempotent:* yes.

        Raises:
            LeaseLost: the holder of a newer lease has been here.
            Refused: nobody holds a lease.
        """
        token = held(self._grant, str(self._target)).token
        refuse_older(token, self._world.token, str(self._target))
        self._world.token = token

    def admit(self, endpoints: Sequence[Endpoint]) -> None:
        """The endpoints are members, and up.

        *Idempotent:* yes.

        Raises:
            Refused: the slot has no room for that index.
            Retryable: one was lost; it gets no requests.
        """
        self.claim()
        for endpoint in endpoints:
            if endpoint.slot not in SLOTS or not 0 <= endpoint.index < self._capacity:
                raise Refused(
                    f"there is no room for {endpoint.slot}/{endpoint.index}",
                    on=str(self._target),
                    next_action=f"use {' or '.join(SLOTS)} and an index below {self._capacity}",
                )
        for endpoint in endpoints:
            key = (endpoint.slot, endpoint.index)
            before = self._world.members.get(key)
            if before is None or before.address != endpoint.address or before.admission is not Admission.IN:
                self._world.members[key] = Member(*key, endpoint.address, Admission.DRAINING, up=True, open_requests=0)
        failing = [each for each in endpoints if each.address in self._world.down]
        if failing:
            raise Retryable(
                f"{', '.join(f'{each.slot}/{each.index}' for each in failing)} did not come up",
                on=str(self._target),
                state="the members that are not up get no requests; weights are as before",
                next_action="see why the readiness probe fails; then run this again, or roll back",
                facts={each.address: "lost" for each in failing},
            )
        for endpoint in endpoints:
            key = (endpoint.slot, endpoint.index)
            self._world.members[key] = replace(self._world.members[key], admission=Admission.IN)

    def shift(self, weights: dict[str, float]) -> None:
        """New requests would be shared so.

        *Idempotent:* yes.

        Raises:
            Refused: unknown slot, weights that do not sum to 100, or weight on a slot without a member that is up.
        """
        self.claim()
        found = shares(weights, self.observe().members, str(self._target))
        self._world.weights = {slot: share / 1000 for slot, share in found.items()}

    def drain(self, slot: str, indexes: Sequence[int], timeout_s: float) -> int:
        """The members are OUT; returns how many open requests they had, since none ends by itself.

        *Idempotent:* yes.
        """
        self.claim()
        del timeout_s
        gone = [self._world.members.pop((slot, index), None) for index in set(indexes)]
        return sum(member.open_requests for member in gone if member is not None)

    def lose(self, address: str) -> None:
        """Whatever is at the address answers no health check any more. For tests.

        *Idempotent:* yes.
        """
        self._world.down.add(address)

    def recover(self, address: str) -> None:
        """Whatever is at the address passes its health checks again. For tests.

        *Idempotent:* yes.
        """
        self._world.down.discard(address)

    def hold(self, slot: str, index: int, open_requests: int) -> None:
        """The member has so many open requests, which do not end by themselves. For tests.

        *Idempotent:* yes.
        """
        self._world.members[slot, index] = replace(self._world.members[slot, index], open_requests=open_requests)

    def _seen(self, member: Member) -> Member:
        return replace(member, up=member.address not in self._world.down)
