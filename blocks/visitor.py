"""Visits a service as its users do, at the address that the DNS has given."""

from collections.abc import Sequence

from blocks.context import Context
from blocks.prober import HttpProber
from tasks.common.model import HttpCheck, StrictModel
from tasks.failover.model import Visited


class HttpVisitor:
    """Implements `Visitor` by HTTP; requests are sent as `HttpProber` sends them.

    Args:
        settings: it has none.
        context: redacts what is said.
    """

    class Settings(StrictModel):
        """It has none."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings
        self._prober = HttpProber(HttpProber.Settings(), context)

    def visit(self, url: str, address: str, checks: Sequence[HttpCheck]) -> tuple[Visited, ...]:
        """Return what came of each request, in order. *Idempotent:* as the requests are."""
        results = self._prober.probe(url, checks, address=address)
        return tuple(Visited(each.check.label, each.problem, each.duration_s) for each in results)
