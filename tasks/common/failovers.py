"""Regions and failovers of the estate file (DR-2, DR-3): what moves from where to where, and who decides."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from tasks.common.model import DriverSpec, HttpCheck, Place, Problem, StrictModel, near
from tasks.common.sites import Region, RegionRole
from tasks.common.units import (
    ADDRESS_PATTERN,
    DNS_NAME_PATTERN,
    HOST_AND_PORT_PATTERN,
    Expected,
    Name,
    Percent,
    PositiveDuration,
)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise Expected("an IPv4 or IPv6 address", text) from None


IpAddress = Annotated[str, AfterValidator(_address)]


class Scope(StrEnum):
    """How far a service reaches, which says who decides."""

    REGIONAL = "regional"
    """It serves one residency zone, and fails over within it by itself."""
    GLOBAL = "global"
    """Everybody uses it: a person is asked before it fails over."""


class RegionSpec(StrictModel):
    """A place that services run in (DR-3)."""

    role: RegionRole = Field(description="what it is for while nothing is wrong; which site serves now is observed")
    zone: Name = Field(description="residency zone: nothing ever fails over out of it, whoever asks")
    capacity: Percent = Field(description="share of all users' load that it can take")
    priority: int = Field(ge=1, le=1000, description="among the sites of a zone the lowest takes over first")

    def named(self, name: str) -> Region:
        """Return the region by its name."""
        return Region(name, self.role, self.zone, self.capacity, self.priority)


class Health(StrictModel):
    """What vantage points ask of a site."""

    site: str = Field(pattern=ADDRESS_PATTERN, description="answers 2xx while users reach the site")
    database: str = Field(
        pattern=ADDRESS_PATTERN,
        description="answers 2xx while the site's database takes writes, such as Patroni's /primary behind HAProxy",
    )


class FailoverSite(StrictModel):
    """One service's database and entrance in a region."""

    cluster: DriverSpec = Field(description="observes, fences and promotes the site's database")
    door: DriverSpec = Field(description="opens and closes the entrance of users at the site, with its uplink")
    addresses: list[IpAddress] = Field(min_length=1, description="where users reach the site: what the names point to")
    primary_at: str = Field(
        pattern=HOST_AND_PORT_PATTERN, description="'host:port' where other sites follow the site's primary"
    )
    health: Health | None = Field(default=None, description="what vantage points ask; wanted where 'watch' is")


class FailoverObjectives(StrictModel):
    """What a failover must achieve (DR-1)."""

    rto_s: PositiveDuration = Field(
        default=60.0, alias="rto", description="longest time until users are served; reports say whether it was met"
    )
    rpo_s: PositiveDuration = Field(
        alias="rpo", description="longest time whose writes may be lost without a person's word in writing"
    )


class VantagePoint(StrictModel):
    """Somewhere that sites are looked at from: a machine that runs 'slipway vantage'."""

    url: str = Field(pattern=ADDRESS_PATTERN, description="where its 'slipway vantage' answers")


class Watch(StrictModel):
    """How 'slipway watch' finds out that a site is down (DR-2)."""

    points: dict[Name, VantagePoint] = Field(min_length=1, description="vantage points by name, three at best")
    control: list[str] = Field(
        min_length=1,
        description="addresses elsewhere that answer 2xx: a vantage point that reaches none says nothing of the sites",
    )
    every_s: PositiveDuration = Field(default=10.0, alias="every", ge=0.1, description="time from a look to the next")
    within_s: PositiveDuration = Field(default=2.0, alias="within", le=10, description="no answer is a failed look")
    failures: int = Field(
        default=3, ge=1, le=100, description="looks in a row that must fail until a point calls it down"
    )
    recoveries: int = Field(
        default=3, ge=1, le=100, description="looks in a row that must succeed until it is up again"
    )
    quorum: int = Field(
        default=2, ge=2, le=100, description="vantage points that must call it down; more than half of them"
    )


class FailoverPlan(StrictModel):
    """What moves to another site when one is down, or is wanted there."""

    service: Name = Field(description="the service that users are moved with")
    environment: Name = Field(description="and its environment: no planned move begins while a release works there")
    scope: Scope = Field(
        default=Scope.GLOBAL, description="who decides: 'regional' fails over by itself, 'global' asks a person"
    )
    sites: dict[Name, FailoverSite] = Field(min_length=2, description="by region")
    dns: DriverSpec = Field(description="the authoritative DNS of the names")
    names: list[Annotated[str, Field(pattern=DNS_NAME_PATTERN)]] = Field(
        min_length=1, description="that users ask for; all of them point to the site that serves"
    )
    ttl_s: PositiveDuration = Field(
        default=5.0, alias="ttl", ge=1, le=86400, description="how long resolvers may keep an answer; whole seconds"
    )
    url: str = Field(
        pattern=ADDRESS_PATTERN, description="where users reach the service: a name of the above, with its port"
    )
    smoke: list[HttpCheck] = Field(
        min_length=1, description="requests that must be answered at the new site, sent to what the DNS says"
    )
    visitor: DriverSpec = Field(default=DriverSpec(driver="http"), description="sends those requests")
    objectives: FailoverObjectives = Field(description="what every move is measured against")
    system_id: str = Field(
        default="", description="PostgreSQL's system identifier: a cluster of other data is never promoted"
    )
    lag_at_start_s: PositiveDuration = Field(
        default=10.0,
        alias="lag_at_start",
        description="a planned move does not begin while the standby is further behind",
    )
    catch_up_within_s: PositiveDuration = Field(
        default=30.0,
        alias="catch_up_within",
        description="users wait so long for a standby; then the move is taken back",
    )
    rebuild_within_s: PositiveDuration = Field(
        default=24 * 3600.0, alias="rebuild_within", description="longest time for a site to become a standby again"
    )
    smoke_within_s: PositiveDuration = Field(
        default=30.0, alias="smoke_within", description="the requests are sent again for so long"
    )
    approval_within_s: PositiveDuration = Field(
        default=3600.0, alias="approval_within", ge=60, description="how long a question waits for an answer"
    )
    lease_s: PositiveDuration = Field(
        default=15.0, alias="lease", ge=5, description="a run that is not heard of for this long has lost its right"
    )
    watch: Watch | None = Field(default=None, description="how 'slipway watch' sees that a site is down")


def failover_problems(
    failovers: Mapping[str, FailoverPlan],
    regions: Mapping[str, RegionSpec],
    services: Collection[str],
    environments: Collection[str],
) -> list[Problem]:
    """Return what does not fit between the failovers, the regions and the rest of the estate.

    Args:
        failovers: by name.
        regions: by name.
        services: names of those that there are.
        environments: names of those that there are.
    """
    found = []
    for name, plan in failovers.items():
        place = ("failovers", name)
        found += [
            Problem((*place, "sites", site), f"the unknown region {site!r}{near(site, regions)}", _one_of(regions))
            for site in plan.sites
            if site not in regions
        ]
        found += _unknown((*place, "service"), "service", plan.service, services)
        found += _unknown((*place, "environment"), "environment", plan.environment, environments)
        host = urlsplit(plan.url).hostname
        if host not in plan.names:
            found.append(Problem((*place, "url"), f"the host {host!r}", _one_of(plan.names)))
        found += _addresses_twice(place, plan)
        found += _unfit_watch(place, plan)
    return found


def _unfit_watch(place: tuple[str, ...], plan: FailoverPlan) -> list[Problem]:
    watch = plan.watch
    if watch is None:
        return []
    found = []
    points = len(watch.points)
    if not points / 2 < watch.quorum <= points:
        expected = f"more than half of the {points} vantage points, and no more than there are"
        found.append(Problem((*place, "watch", "quorum"), f"the quorum {watch.quorum}", expected))
    for name, site in plan.sites.items():
        if site.health is None:
            found.append(
                Problem((*place, "sites", name), "no 'health', and a 'watch'", "what vantage points ask of the site")
            )
    return found


def _addresses_twice(place: tuple[str, ...], plan: FailoverPlan) -> list[Problem]:
    seen: dict[str, str] = {}
    found = []
    for name, site in plan.sites.items():
        for position, address in enumerate(site.addresses):
            if address in seen:
                there: Place = (*place, "sites", name, "addresses", position)
                found.append(Problem(there, f"the address {address}, twice", "every address once"))
            seen[address] = name
    return found


def _unknown(place: tuple[str, ...], kind: str, name: str, known: Collection[str]) -> list[Problem]:
    return [] if name in known else [Problem(place, f"the unknown {kind} {name!r}{near(name, known)}", _one_of(known))]


def _one_of(names: Collection[str]) -> str:
    return f"one of: {', '.join(sorted(names))}" if names else "a name that is described in this file"
