"""The checks that an estate file names for an environment: 'no active incident', 'system healthy' and the like."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from blocks.estate import OpenEstate, Site
from tasks.common.gates import Gate
from tasks.gate.judge import judge
from tasks.gate.model import Names
from tasks.gate.reading import Sources, read
from tasks.preflight.model import Finding, Look

LOOK_BACK_S = 300.0
"""`$window` of checks and gates: as long as validation watches by default."""


def own_checks(estate: OpenEstate) -> Callable[[str, Site], Sequence[Look]]:
    """Return what gives an environment's own checks, named after where it is, to be looked at with all the rest."""

    def looks(where: str, site: Site) -> Sequence[Look]:
        named = [(f"{where}: {check.name}", check) for check in site.environment.preflight.checks]
        return [Look(name, partial(_look, name, check, site, figure_sources(estate, site))) for name, check in named]

    return looks


def figure_sources(estate: OpenEstate, site: Site) -> Sources:
    """Return where the figures of a site's checks and gates are read."""
    return Sources(site.metrics, estate.ledger, estate.figures)


def _look(name: str, check: Gate, site: Site, sources: Sources) -> Sequence[Finding]:
    asked_at, target = datetime.now(UTC), site.target
    names = Names(target.service, target.environment, "", "", LOOK_BACK_S, "")
    verdict = judge(check, read(check, sources, names, asked_at), datetime.now(UTC))
    return [Finding(name, verdict.open, verdict.why, verdict.mend)]
