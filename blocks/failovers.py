"""A failover of the estate file, with the drivers that it names open."""

from dataclasses import replace

from blocks import open_driver
from blocks.estate import OpenEstate
from tasks.common.errors import Refused
from tasks.common.failovers import FailoverPlan
from tasks.common.lease import Grant
from tasks.failover.carry import OpenSite
from tasks.failover.model import Rules
from tasks.failover.ports import Dns, Visitor


def failover_plan(estate: OpenEstate, name: str) -> FailoverPlan:
    """Return what the estate file says of a failover.

    Raises:
        Refused: it has no such failover.
    """
    known = estate.file.failovers
    if name not in known:
        raise Refused(
            f"the estate {estate.file.estate} has no failover {name!r}",
            on="the request",
            next_action=f"use one of: {', '.join(sorted(known))}"
            if known
            else "describe it under failovers of the estate file",
        )
    return known[name]


def open_sites(estate: OpenEstate, name: str, grant: Grant | None = None) -> dict[str, OpenSite]:
    """Return the sites of a failover by region; without a grant, they are only observed.

    Raises:
        Refused: the estate has no such failover.
    """
    here = replace(estate.context, grant=grant)
    found = {}
    for region, site in failover_plan(estate, name).sites.items():
        host, _, port = site.primary_at.rpartition(":")
        found[region] = OpenSite(
            estate.file.regions[region].named(region),
            open_driver("cluster", site.cluster, here),
            open_driver("door", site.door, here),
            tuple(sorted(site.addresses)),
            (host, int(port)),
        )
    return found


def open_dns(estate: OpenEstate, name: str, grant: Grant | None = None) -> Dns:
    """Return the DNS of a failover's names; without a grant, it is only asked.

    Raises:
        Refused: the estate has no such failover.
    """
    dns: Dns = open_driver("dns", failover_plan(estate, name).dns, replace(estate.context, grant=grant))
    return dns


def open_visitor(estate: OpenEstate, name: str) -> Visitor:
    """Return who visits the service as a user.

    Raises:
        Refused: the estate has no such failover.
    """
    visitor: Visitor = open_driver("visitor", failover_plan(estate, name).visitor, estate.context)
    return visitor


def rules_of(name: str, plan: FailoverPlan) -> Rules:
    """Return what of the file bears on the decision."""
    return Rules(
        name,
        plan.scope,
        plan.objectives.rpo_s,
        tuple(plan.names),
        round(plan.ttl_s),
        plan.system_id,
        plan.lag_at_start_s,
    )
