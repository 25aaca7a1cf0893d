"""The sites' drivers as an estate file has them: name and settings. Secrets are references."""

from typing import Any

from deployments.lab.sites import texts
from deployments.lab.sites.sites import API_KEY, OBSERVER_DSN, PATRONICTL, PYTHON, SiteLab
from deployments.lab.sites.topology import (
    DATABASE_PORT,
    DNS_API_PORT,
    DNS_PORT,
    DOMAIN,
    HEALTH_PORT,
    LEADER_PORT,
    MEMBERS,
    PATRONI_PORT,
    WAN,
)


def cluster(lab: SiteLab, site: str) -> dict[str, Any]:
    """Return the driver of a site's database cluster."""
    secrets = lab.home / "secrets"
    return {
        "driver": "patroni",
        "cluster": texts.scope(site),
        "members": {
            name: {
                "api": f"http://{lab.address(name)}:{PATRONI_PORT}",
                "database": f"{lab.address(name)}:{DATABASE_PORT}",
            }
            for name in MEMBERS[site]
        },
        "observer": f"file:{secrets / OBSERVER_DSN}",
        "user": texts.API_USER,
        "password": f"file:{secrets / texts.API_USER}",
        "slot": texts.slot(site),
        "patronictl": [str(PYTHON), str(PATRONICTL), "-c", str(lab.patroni_file(MEMBERS[site][0]))],
    }


def door(lab: SiteLab, site: str) -> dict[str, Any]:
    """Return the driver of a site's entrance."""
    return {
        "driver": "haproxy",
        "socket": str(lab.edge_socket(site)),
        "map": str(lab.door(site)),
        "backends": ["primary", "application"],
    }


def site(lab: SiteLab, name: str) -> dict[str, Any]:
    """Return a site of a failover."""
    edge = lab.address(f"edge-{name}", WAN)
    return {
        "cluster": cluster(lab, name),
        "door": door(lab, name),
        "addresses": [edge],
        "primary_at": f"{edge}:{LEADER_PORT}",
        "health": {"site": f"http://{edge}/health/ready", "database": f"http://{edge}:{HEALTH_PORT}/primary"},
    }


def dns(lab: SiteLab) -> dict[str, Any]:
    """Return the driver of the DNS that users ask."""
    return {
        "driver": "powerdns",
        "api": f"http://{lab.address('dns')}:{DNS_API_PORT}",
        "api_key": f"file:{lab.home / 'secrets' / API_KEY}",
        "zone": DOMAIN,
        "server": f"{lab.address('dns')}:{DNS_PORT}",
    }
