"""What drills need from the outside."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tasks.drill.model import NodeSeen, Undone

Aim = Mapping[str, Any]
"""What exactly a fault will hit, and what is needed to undo it: JSON data, known before anything is changed."""


class Fault(Protocol):
    """One way of breaking something. Its undo is data: the driver's name, its settings and the aim."""

    @property
    def reversible(self) -> bool:
        """Return whether undoing brings back what was there; else a person does."""
        ...

    def aim(self) -> Aim:
        """Return what would be hit; nothing is changed.

        Raises:
            Refused: there is nothing of the kind, or it may not be hit.
            Retryable: what knows it does not answer.
        """
        ...

    def inject(self, aim: Aim) -> None:
        """The fault is there. *Idempotent:* yes; what was hit already is not hit again.

        Raises:
            Refused: what was aimed at is not there any more; nothing was changed.
            Unsafe: it is there by half.
        """
        ...

    def injected(self, aim: Aim) -> bool:
        """Return whether the fault is seen where it was aimed at, now."""
        ...

    def undo(self, aim: Aim) -> Undone:
        """Nothing of the fault is left, as far as a driver can bring that about; what a person must do is returned.

        Of a fault that was never injected nothing is undone, and nothing else is touched. *Idempotent:* yes.

        Raises:
            Retryable: it could not be undone now, and may be later.
            Unsafe: it cannot be undone like this.
        """
        ...


class Nodes(Protocol):
    """The servers of a cluster, each asked on its own address and never through a router."""

    def look(self) -> Sequence[NodeSeen]:
        """Return every node, in the order of their names, as it is now; one that does not answer is silent."""
        ...
