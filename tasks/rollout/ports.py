"""What a rollout needs from the outside: a runtime that runs instances, a router that sends them traffic."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.rollout.model import Instance, Routing, Workload


@dataclass(frozen=True)
class Endpoint:
    """Where one instance can be reached: address is 'host:port', health_path the readiness probe's path."""

    slot: str
    index: int
    address: str
    health_path: str


class Runtime(Protocol):
    """Runs instances of one service in one environment. Instances survive the death of every Slipway process."""

    def observe(self) -> tuple[Instance, ...]:
        """Return every instance that exists, whatever its health, by slot and index.

        Raises:
            Retryable: the runtime does not answer.
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


class Router(Protocol):
    """Sends requests to the members of the two slots of one service in one environment."""

    def observe(self) -> Routing:
        """Return what the router does now, read back from the router itself.

        Raises:
            Retryable: the router does not answer.
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
