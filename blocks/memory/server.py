"""A Prefect server that is kept in memory."""

from dataclasses import replace

from tasks.server.model import Kind, Resource


class MemoryServer:
    """Implements `Server`; what others have put there, or stopped, is in `found`."""

    def __init__(self) -> None:
        self.found: dict[tuple[Kind, str], Resource] = {}

    def observe(self) -> tuple[Resource, ...]:
        """Return what is there."""
        return tuple(self.found.values())

    def make(self, resource: Resource) -> None:
        """The resource is there."""
        self.found[resource.kind, resource.name] = resource

    def change(self, resource: Resource) -> None:
        """The resource is as it is said, but what is stopped stays stopped."""
        stopped = self.found[resource.kind, resource.name].stopped
        self.found[resource.kind, resource.name] = replace(resource, stopped=stopped)

    def remove(self, resource: Resource) -> None:
        """The resource is not there any more."""
        self.found.pop((resource.kind, resource.name), None)
