"""What every driver is given besides its own settings."""

from dataclasses import dataclass, field
from pathlib import Path

from blocks.guest import Guest
from blocks.secrets import Secrets
from tasks.common.lease import Grant
from tasks.common.model import Target


@dataclass(frozen=True)
class Context:
    """Surroundings of a driver.

    Args:
        base: the estate file's folder, which relative paths of its settings start from.
        target: what the work is about; None for drivers that serve the whole estate (store, ledger).
        secrets: resolves references, and redacts every value that it has resolved; its relative `file:` references
            start from `base` where it was made without a folder of its own.
        path: folders put in front of PATH for commands that the driver starts.
        grant: the right to change what the target is about; without it a driver only observes.
        guest: who runs the commands of a commit that is trusted with nothing; None where it is the worker itself.
    """

    base: Path
    target: Target | None = None
    secrets: Secrets = field(default_factory=Secrets)
    path: tuple[str, ...] = ()
    grant: Grant | None = None
    guest: Guest | None = None

    def __post_init__(self) -> None:
        self.secrets.start_from(self.base)

    def resolve(self, path: str) -> Path:
        """Return a path of the estate file as an absolute one."""
        return (self.base / path).absolute()
