"""Instances in memory, for tests and dry runs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from blocks.context import Context
from blocks.fence import held, refuse_older
from blocks.runtimes.placing import verify_digest
from tasks.common.capacity import Capacity
from tasks.common.errors import Refused, Retryable
from tasks.common.model import StrictModel, Target
from tasks.rollout.model import SLOTS, Health, Instance, Workload


@dataclass
class MemoryWorld:
    """What exists: placed releases with their digests, instances, unready releases, and the newest lease's token."""

    placed: dict[str, str] = field(default_factory=dict)
    instances: dict[tuple[str, int], Instance] = field(default_factory=dict)
    unready: set[str] = field(default_factory=set)
    token: int = 0
    capacity: Capacity = field(default_factory=lambda: Capacity(100.0, 100.0, 100.0))


class MemoryRuntime:
    """Runs nothing, and remembers what would run for as long as the process lives. Nothing takes any time.

    Args:
        settings: which world.
        context: whose instances; resolves secrets.
    """

    class Settings(StrictModel):
        """Settings of the driver `memory`."""

        world: str = Field(default="", description="runtimes of a target with the same world have the same instances")
        room: int = Field(default=100, ge=1, description="instances that each slot has room for")

    worlds: ClassVar[dict[tuple[str, Target], MemoryWorld]] = {}
    """What exists, by the world's name and the target."""

    def __init__(self, settings: Settings, context: Context) -> None:
        assert context.target is not None, "a runtime serves one service in one environment"
        self._target = context.target
        self._grant = context.grant
        self._secrets = context.secrets
        self._room = settings.room
        self._world_name = settings.world

    @property
    def _world(self) -> MemoryWorld:
        return self.worlds.setdefault((self._world_name, self._target), MemoryWorld())

    def observe(self) -> tuple[Instance, ...]:
        """Return every instance that exists, whatever its health, by slot and index."""
        return tuple(instance for _, instance in sorted(self._world.instances.items()))

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

    def place(self, workload: Workload, archive: Path) -> None:
        """The release can be started.

        *Idempotent:* yes.

        Raises:
            Refused: the archive's digest is not the workload's.
        """
        self.claim()
        verify_digest(archive, workload.digest)
        self._world.placed[workload.release] = workload.digest

    def start(self, slot: str, indexes: Sequence[int], workload: Workload) -> None:
        """The instances exist, and are ready unless their release was made to fail.

        *Idempotent:* yes: an instance that runs this release is left alone, a dead or failing one is replaced.

        Raises:
            Refused: the release is not placed, the slot has no such index, a secret cannot be resolved, or the index
                runs another release (stop it first).
        """
        self.claim()
        if self._world.placed.get(workload.release) != workload.digest:
            raise self._refused(f"release {workload.release} is not placed", "place the release, then start it")
        beyond = sorted(index for index in indexes if slot not in SLOTS or not 0 <= index < self._room)
        if beyond:
            raise self._refused(
                f"slot {slot} has no index {', '.join(map(str, beyond))}", f"use an index below {self._room}"
            )
        for index in indexes:
            other = self._world.instances.get((slot, index))
            if other is not None and other.health is not Health.DEAD and other.release != workload.release:
                raise self._refused(f"{slot}/{index} runs release {other.release}", "stop it first")
        for reference in workload.secrets.values():
            self._secrets.resolve(reference)
        health = Health.FAILING if workload.release in self._world.unready else Health.READY
        for index in indexes:
            address = f"{slot}-{index}.{self._target.service}.{self._target.environment}.memory:80"
            self._world.instances[slot, index] = Instance(slot, index, workload.release, address, health)

    def await_ready(self, slot: str, indexes: Sequence[int], probes_within_s: float) -> None:
        """Every instance is ready. Nothing is waited for, since nothing changes by itself.

        Raises:
            Retryable: one is not.
        """
        for index in indexes:
            found = self._world.instances.get((slot, index))
            if found is None or found.health is not Health.READY:
                health = found.health if found is not None else "not there"
                raise Retryable(
                    f"instance {slot}/{index} was not ready within {probes_within_s:g} s",
                    on=str(self._target),
                    state=f"it is {health}",
                    next_action="roll back, or start it again",
                    facts={"last lines": "(in memory, nothing is printed)"},
                )

    def stop(self, slot: str, indexes: Sequence[int], grace_s: float) -> None:
        """The instances do not exist any more.

        *Idempotent:* yes.
        """
        self.claim()
        del grace_s
        for index in indexes:
            self._world.instances.pop((slot, index), None)

    def forget(self, keep: Collection[str]) -> tuple[str, ...]:
        """Placed releases that are neither in `keep` nor run are removed; their names are returned.

        *Idempotent:* yes.
        """
        self.claim()
        needed = {*keep, *(instance.release for instance in self._world.instances.values())}
        gone = tuple(sorted(self._world.placed.keys() - needed))
        for release in gone:
            del self._world.placed[release]
        return gone

    def capacity(self) -> Capacity:
        """Return what is free: everything, until `fill` was told otherwise."""
        return self._world.capacity

    def fill(self, *, cpu: float = 0.0, memory: float = 0.0, disk: float = 0.0) -> None:
        """So many per cent of each are taken. For tests.

        *Idempotent:* yes.
        """
        self._world.capacity = Capacity(100 - cpu, 100 - memory, 100 - disk)

    def lose(self, slot: str, index: int) -> None:
        """The instance is dead, as if it had crashed for good. For tests.

        *Idempotent:* yes.
        """
        self._change(slot, index, Health.DEAD)

    def fail_readiness(self, release: str) -> None:
        """Instances of the release, those to come included, run but fail their readiness probe. For tests.

        *Idempotent:* yes.
        """
        self._world.unready.add(release)
        for (slot, index), instance in list(self._world.instances.items()):
            if instance.release == release and instance.health is not Health.DEAD:
                self._change(slot, index, Health.FAILING)

    def _change(self, slot: str, index: int, health: Health) -> None:
        self._world.instances[slot, index] = replace(self._world.instances[slot, index], health=health)

    def _refused(self, what: str, next_action: str) -> Refused:
        return Refused(what, on=str(self._target), next_action=next_action)
