"""What is there now: servers of the lab, releases and instances of every service."""

from dataclasses import asdict, dataclass

from blocks.estate import OpenEstate
from tasks.common.errors import SlipwayError


@dataclass(frozen=True)
class SiteStatus:
    """One service in one environment, as observed."""

    service: str
    environment: str
    url: str
    weights: dict[str, float]
    instances: list[dict[str, object]]
    problem: str = ""


def observe_sites(estate: OpenEstate) -> list[SiteStatus]:
    """Return every service in every environment, read now; what fails is a problem of its own, not an error."""
    return [
        _observe(estate, service, environment)
        for service in estate.file.services
        for environment in estate.file.environments
    ]


def _observe(estate: OpenEstate, service: str, environment: str) -> SiteStatus:
    url = estate.file.environments[environment].url
    try:
        site = estate.site(service, environment)
        routing = site.router.observe()
        members = {(m.slot, m.index): m for m in routing.members}
        instances = []
        for instance in site.runtime.observe():
            member = members.get((instance.slot, instance.index))
            routed = {
                "routed": member.admission.value if member else "out",
                "open": member.open_requests if member else 0,
            }
            instances.append({**asdict(instance), "health": instance.health.value, **routed})
    except SlipwayError as error:
        return SiteStatus(service, environment, url, {}, [], str(error))
    return SiteStatus(service, environment, url, routing.weights, instances)
