"""Servers of a cluster in memory, for tests and dry runs."""

from collections.abc import Sequence

from pydantic import Field

from blocks.context import Context
from tasks.common.model import StrictModel
from tasks.common.units import Name
from tasks.drill.model import NodeSeen, NodeState


class MemoryNodes:
    """Implements `Nodes` with what it was told of: `states` by name, changed at will."""

    class Settings(StrictModel):
        """Settings of the driver `memory`."""

        nodes: dict[Name, NodeState] = Field(min_length=1, description="state of each, by name")
        system_id: str = Field(default="7000000000000000001", description="of the cluster")

    def __init__(self, settings: Settings, context: Context) -> None:
        del context
        self.states: dict[str, NodeState] = dict(settings.nodes)
        self.system_id = settings.system_id

    def look(self) -> Sequence[NodeSeen]:
        """Return every node as it is now. *Idempotent:* yes."""
        return [
            NodeSeen(name, state, "" if state is NodeState.SILENT else self.system_id)
            for name, state in sorted(self.states.items())
        ]
