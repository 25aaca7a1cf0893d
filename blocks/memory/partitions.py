"""A database whose partitions are looked after, in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from blocks.context import Context
from blocks.memory.migrations import MemoryMigrations
from tasks.common.errors import Refused
from tasks.migration.catalogue import Identity
from tasks.migration.model import Limits, Table
from tasks.migration.partition_model import (
    Create,
    Detach,
    Detached,
    Drop,
    Note,
    Partition,
    Ranged,
    Seen,
    Step,
    bounds_of,
)
from tasks.migration.partition_ports import Keeper
from tasks.migration.ports import MutexLost

_VERSION = 150_000


class MemoryPartitions(MemoryMigrations):
    """Implements `PartitionTarget`, too. Every table that has rows is partitioned by a moment, and has no partition.

    Args:
        settings: the rows that there are.
        context: not used.
    """

    def __init__(self, settings: MemoryMigrations.Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.tables = {name: Ranged(name, Table(name=name), key="at") for name in settings.rows}
        self.in_default: dict[str, list[datetime]] = {}

    def ranged(self, tables: Sequence[str]) -> Seen:
        """Return tables with their partitions, as they are now. *Idempotent:* yes."""
        found = tuple(self.tables.get(each) or _missing(each) for each in tables)
        return Seen(Identity("memory"), _VERSION, datetime.now(UTC), found)

    def strays(self, seen: Ranged, step: Create) -> int:
        """Return how many rows of a partition that is to be made lie in the default one. *Idempotent:* yes."""
        lower, upper = _bounds(step)
        return sum(lower <= each < upper for each in self.in_default.get(seen.name, ()))

    @contextmanager
    def keeping(self, run_id: str, within_s: float) -> Iterator[Keeper]:
        """This engine alone may change the database within the block."""
        with self.locked(run_id, within_s):
            keeper = MemoryKeeper(self)
            try:
                yield keeper
            finally:
                keeper.close()


class MemoryKeeper:
    """Implements `Keeper`.

    Args:
        target: the database.
    """

    def __init__(self, target: MemoryPartitions) -> None:
        self._target, self._open = target, True

    def close(self) -> None:
        """It changes nothing more."""
        self._open = False

    def carry_out(self, step: Step, limits: Limits) -> None:
        """The step is done. *Idempotent:* yes."""
        del limits
        if not self._open:
            raise MutexLost("this engine's hold on the database is gone", on="memory", next_action="run this again")
        seen = self._target.tables[step.parent.name]
        match step:
            case Create():
                found = _created(seen, step)
            case Note():
                found = _noted(seen, step)
            case Detach():
                found = _detached(seen, step)
            case Drop():
                found = _dropped(seen, step)
        self._target.tables[seen.name] = found
        self._target.world.log += [] if found == seen else step.statements


def _created(seen: Ranged, step: Create) -> Ranged:
    if any(each.table == step.partition for each in seen.partitions):
        return seen
    if step.partition.name in seen.taken:
        raise _refused(step, "something else has its name")
    made = Partition(step.partition, *_bounds(step))
    return replace(seen, partitions=(*seen.partitions, made), taken=seen.taken | {step.partition.name})


def _noted(seen: Ranged, step: Note) -> Ranged:
    within = any(each.table == step.partition for each in seen.partitions)
    if within and step.mark.detached_at is not None:
        raise _refused(step, "it is a partition")
    if within:
        noted = [
            replace(each, comment=str(step.mark)) if each.table == step.partition else each for each in seen.partitions
        ]
        return replace(seen, partitions=tuple(noted))
    if all(each.table != step.partition for each in seen.detached):
        raise _refused(step, "it is not there")
    gone = [replace(each, mark=step.mark) if each.table == step.partition else each for each in seen.detached]
    return replace(seen, detached=tuple(gone))


def _detached(seen: Ranged, step: Detach) -> Ranged:
    leaving = next((each for each in seen.partitions if each.table == step.partition), None)
    if leaving is None and any(each.table == step.partition for each in seen.detached):
        return seen
    if leaving is None or leaving.mark is None:
        raise _refused(step, "it is not there" if leaving is None else "its comment does not say that it leaves")
    left = tuple(each for each in seen.partitions if each is not leaving)
    return replace(seen, partitions=left, detached=(*seen.detached, Detached(leaving.table, leaving.mark)))


def _dropped(seen: Ranged, step: Drop) -> Ranged:
    gone = next((each for each in seen.detached if each.table == step.partition), None)
    if gone is None and all(each.table != step.partition for each in seen.partitions):
        return seen
    if gone is None or gone.mark.detached_at is None:
        what = "it is a partition" if gone is None else "its comment does not say that it left"
        raise _refused(step, what)
    left = tuple(each for each in seen.detached if each is not gone)
    return replace(seen, detached=left, taken=seen.taken - {step.partition.name})


def _bounds(step: Create) -> tuple[datetime, datetime]:
    found = bounds_of(f"FOR VALUES FROM ('{step.lower}') TO ('{step.upper}')")
    assert found is not None and found[0] is not None and found[1] is not None, "planned ranges have bounds"
    return found[0], found[1]


def _missing(name: str) -> Ranged:
    return Ranged(name, Table(name=name), f"there is no table {name}", "make it by a migration")


def _refused(step: Step, what: str) -> Refused:
    return Refused(
        f"{step.partition.name} is not what it was when this was planned: {what}",
        on="memory",
        next_action="run this again: it looks anew",
    )
