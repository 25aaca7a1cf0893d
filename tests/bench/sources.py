"""The databases that the figures of backups share, each made when the first figure asks for it."""

from contextlib import ExitStack
from functools import cached_property

from blocks.estate import open_estate
from tests.bench.place import Place
from tests.bench.plans import PROVEN, Plans
from tests.bench.source import Source

_SMALL = 1


class Sources:
    """A large database and a small one, and their plans.

    Args:
        place: the lab whose worker backs them up.
        scale: pgbench's, of the large one.
        servers: ends their servers.
    """

    def __init__(self, place: Place, scale: int, servers: ExitStack) -> None:
        self._place, self._scale, self._servers = place, scale, servers

    @cached_property
    def large(self) -> tuple[Source, Plans]:
        """Return the large one."""
        return self._made("large", self._scale)

    @cached_property
    def both(self) -> dict[str, tuple[Source, Plans]]:
        """Return both, by their sizes in words; the large one last."""
        found = [self._made("small", _SMALL), self.large]
        return {f"{source.size_bytes() / 1e6:,.0f} MB": (source, plans) for source, plans in found}

    def _made(self, name: str, scale: int) -> tuple[Source, Plans]:
        self._place.say(f"the {name} database is filled: pgbench's scale {scale}")
        source = Source(self._place.lab.var / name, scale)
        self._servers.callback(source.stop)
        source.start()
        plans = Plans(self._place.lab, source)
        # Whoever measures bare commands first needs its configuration and its stanza.
        open_estate(str(plans.file)).backup(PROVEN).check()
        return source, plans
