"""WAL that a server cannot let go of, which fills its disk until it stops. Pure.

The archiver's own counters are not asked: they stay green where a command reports success and stores nothing, and say
nothing of slots. *Source:* reference "backup-dr", section 6, pain 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.common.units import show_duration, show_size


@dataclass(frozen=True)
class Slot:
    """A replication slot.

    Args:
        name: its own.
        active: whether somebody reads it.
        held_bytes: WAL from what it needs to where the server is.
        lost: whether the server has removed WAL that it needed, or is about to (max_slot_wal_keep_size).
    """

    name: str
    active: bool
    held_bytes: int
    lost: bool = False


@dataclass(frozen=True)
class WalHeld:
    """What keeps a server from removing its WAL.

    Args:
        usual_bytes: what it means to keep at most (max_wal_size).
        waiting: pieces of WAL that are complete, and not archived.
        waiting_bytes: what these take.
        oldest_s: how long the oldest of them has waited, by the server's clock; 0 where none waits.
        slots: all of them.
        unseen: why the waiting could not be counted; '' where they were.
    """

    usual_bytes: int
    waiting: int = 0
    waiting_bytes: int = 0
    oldest_s: float = 0.0
    slots: Sequence[Slot] = ()
    unseen: str = ""


def problems(held: WalHeld, rpo_s: float) -> tuple[str, ...]:
    """Return what will fill the server's disk or lose changes, one sentence each; none if all is well.

    Args:
        held: as it was seen.
        rpo_s: longest time whose changes may be lost: what waits longer is lost with the server.
    """
    return (*_archiving(held, rpo_s), *(said for slot in held.slots if (said := _slot(slot, held.usual_bytes))))


def _archiving(held: WalHeld, rpo_s: float) -> Iterator[str]:
    if held.oldest_s > rpo_s or held.waiting_bytes > held.usual_bytes:
        yield (
            f"archiving does not keep up: {held.waiting} pieces of WAL ({show_size(held.waiting_bytes)}) wait, the "
            f"oldest for {show_duration(held.oldest_s)}; the server's disk fills until they are archived"
        )


def _slot(slot: Slot, usual_bytes: int) -> str:
    if slot.lost:
        return f"the replication slot {slot.name} has lost WAL that its reader needed: the reader has to begin anew"
    if slot.active or slot.held_bytes <= usual_bytes:
        return ""
    return (
        f"the replication slot {slot.name}, which nobody reads, holds back {show_size(slot.held_bytes)} of WAL; the "
        "server's disk fills until it is read or dropped"
    )
