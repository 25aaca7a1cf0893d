"""A user in memory, who gets in where the world lets users in."""

from collections.abc import Sequence

from pydantic import Field

from blocks.context import Context
from blocks.memory.world import opened
from tasks.common.model import HttpCheck, StrictModel
from tasks.failover.model import Visited


class MemoryVisitor:
    """Implements `Visitor` over a world.

    Args:
        settings: which world, and which addresses are whose.
        context: resolves the journal.
    """

    class Settings(StrictModel):
        """Settings of the driver `memory`."""

        world: str = Field(default="", description="drivers of the same world see the same sites")
        journal: str | None = Field(default=None, description="file that the world is kept in; without it: the process")
        addresses: dict[str, str] = Field(description="regions by the addresses of their doors")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._name, self._addresses = settings.world, settings.addresses
        self._journal = context.resolve(settings.journal) if settings.journal else None

    def visit(self, url: str, address: str, checks: Sequence[HttpCheck]) -> tuple[Visited, ...]:
        """Return that each request was answered, if users get in at the address and are served. *Idempotent:* yes."""
        region = self._addresses.get(address)
        with opened(self._name, self._journal) as world:
            problem = "" if region in world.takers() else f"nobody answers at {address} for {url}"
        return tuple(Visited(check.label, problem, 0.0) for check in checks)
