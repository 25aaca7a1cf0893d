"""What a rollout needs from the outside: a runtime that runs instances, a router that sends them traffic."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.common.capacity import Capacity
from tasks.rollout.model import Instance, Routing, Workload


@dataclass(frozen=True)
class Endpoint:
    """Where one instance can be reached: address is 'host:port', health_path the readiness probe's path."""

    slot: str
    index: int
    address: str
    health_path: str


class Runtime(Protocol):
    """Runs instances of one service in one environment. Instances survive the death of every Slipway process.

    Every method that changes something does so under a lease, and can raise, besides what is said there: LeaseLost,
    where the holder of a newer lease has been here or the grant says that the lease is lost; Refused, where there is
    no grant; Retryable, where another holder's change does not end. It has then changed nothing; or nothing more,
    where the lease was lost between two of its changes.
    """

    def observe(self) -> tuple[Instance, ...]:
        """Return every instance that exists, whatever its health, by slot and index.

        Raises:
            Retryable: the runtime does not answer.
        """
        ...

    def claim(self) -> None:
        """No holder of an older lease can change anything here any more.

        *Idempotent:* yes.

        Raises:
            LeaseLost: the holder of a newer lease has been here.
            Refused: nobody holds a lease.
            Retryable: another holder's change is under way and does not end; who it is, is named.
        """
        ...

    def place(self, workload: Workload, archive: Path) -> None:
        """The release's files are where its instances will be started from.

        *Idempotent:* yes; a half-placed release is replaced.

        Raises:
            Refused: the archive's digest is not the workload's.
        """
        ...

    def start(self, slot: str, indexes: Sequence[int], workload: Workload) -> None:
        """The instances have been started; whether they are ready is for `await_ready`.

        *Idempotent:* yes: an instance that runs this release is left alone, a dead or failing one is replaced.

        Raises:
            Refused: the release is not placed, the slot has no such index, a port is taken by somebody else (named),
                a secret cannot be resolved, or the index runs another release (stop it first).
        """
        ...

    def await_ready(self, slot: str, indexes: Sequence[int], probes_within_s: float) -> None:
        """Every instance answers its readiness probe with 2xx.

        Raises:
            Retryable: one is not ready in time or has died; the facts carry its last log lines, redacted.
        """
        ...

    def stop(self, slot: str, indexes: Sequence[int], grace_s: float) -> None:
        """The instances do not exist any more: asked to end, killed after grace_s seconds.

        *Idempotent:* yes.
        """
        ...

    def forget(self, keep: Collection[str]) -> tuple[str, ...]:
        """Placed releases that are neither in `keep` nor run are removed; their names are returned.

        *Idempotent:* yes.
        """
        ...

    def capacity(self) -> Capacity:
        """Return what is free where the instances run. It may take a second.

        Raises:
            Refused: it cannot be measured there.
        """
        ...


class Router(Protocol):
    """Sends requests to the members of the two slots of one service in one environment.

    Every method that changes something does so under a lease, and can raise, besides what is said there: LeaseLost,
    where the holder of a newer lease has been here or the grant says that the lease is lost; Refused, where there is
    no grant; Retryable, where another holder's change does not end. It has then changed nothing; or nothing more,
    where the lease was lost between two of its changes.
    """

    def observe(self) -> Routing:
        """Return what the router does now, read back from the router itself.

        Raises:
            Retryable: the router does not answer.
        """
        ...

    def claim(self) -> None:
        """No holder of an older lease can change anything here any more.

        *Idempotent:* yes.

        Raises:
            LeaseLost: the holder of a newer lease has been here.
            Refused: nobody holds a lease.
            Retryable: another holder's change is under way and does not end; who it is, is named.
        """
        ...

    def admit(self, endpoints: Sequence[Endpoint]) -> None:
        """The endpoints are members, checked by the router, and get requests when their slot has weight.

        Returns when the router itself has found them up. *Idempotent:* yes.

        Raises:
            Refused: the slot has no room for that index.
            Retryable: the router does not find one up in time.
        """
        ...

    def shift(self, weights: dict[str, float]) -> None:
        """New requests are shared between the slots by these percentages (sum 100; steps of 0.001).

        The state is persisted before it takes effect, and read back afterwards. *Idempotent:* yes.

        Raises:
            Refused: unknown slot, or weights that do not sum to 100, or weight on a slot without a member that is up.
            Unsafe: what was read back is not what was set.
        """
        ...

    def drain(self, slot: str, indexes: Sequence[int], timeout_s: float) -> int:
        """No new requests reach the members and they are OUT; returns how many open requests were cut at the timeout.

        *Idempotent:* yes; members that are not known are OUT already.
        """
        ...
