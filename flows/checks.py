"""The checks of an environment: those that its estate file names, and that its database fits what is released."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from blocks.estate import OpenEstate, Site
from blocks.job import Job
from tasks.common.gates import Gate
from tasks.gate.judge import judge
from tasks.gate.model import Names
from tasks.gate.reading import Sources, read
from tasks.migration.release_steps import has_database, look_at_fit
from tasks.preflight.model import Finding, Look

LOOK_BACK_S = 300.0
"""`$window` of checks and gates: as long as validation watches by default."""


def own_checks(estate: OpenEstate) -> Callable[[str, Site], Sequence[Look]]:
    """Return what gives an environment's own checks, named after where it is, to be looked at with all the rest."""

    def looks(where: str, site: Site) -> Sequence[Look]:
        named = [(f"{where}: {check.name}", check) for check in site.environment.preflight.checks]
        return [Look(name, partial(_look, name, check, site, figure_sources(estate, site))) for name, check in named]

    return looks


def release_checks(job: Job) -> Callable[[str, Site], Sequence[Look]]:
    """Return what gives an environment's own checks, and what its database needs for the commit that is released."""
    own = own_checks(job.estate)

    def looks(where: str, site: Site) -> Sequence[Look]:
        name = f"{where}: the database fits"
        here = has_database(job, site.target.environment)
        return [*own(where, site), *([Look(name, partial(_fit, name, job, site))] if here else [])]

    return looks


def _fit(name: str, job: Job, site: Site) -> Sequence[Finding]:
    """Return what no waiting mends: code that needs what is gone. What is to be migrated is said, and comes later."""
    found = look_at_fit(job, site.target.environment)
    if found.left_behind:
        told = "; ".join(f"{each.what}: {each.state}" for each in found.left_behind)
        return [Finding(name, False, told, found.left_behind[0].next_action)]
    todo = "; ".join(f"{each.what}: {each.state}" for each in found.unready)
    before = f"before users get this commit: {found.apply} ({todo})"
    return [Finding(name, True, before if todo else f"all {len(found.names)} migrations are validated")]


def figure_sources(estate: OpenEstate, site: Site) -> Sources:
    """Return where the figures of a site's checks and gates are read."""
    return Sources(site.metrics, estate.ledger, estate.figures)


def _look(name: str, check: Gate, site: Site, sources: Sources) -> Sequence[Finding]:
    asked_at, target = datetime.now(UTC), site.target
    names = Names(target.service, target.environment, "", "", LOOK_BACK_S, "")
    verdict = judge(check, read(check, sources, names, asked_at), datetime.now(UTC))
    return [Finding(name, verdict.open, verdict.why, verdict.mend)]
