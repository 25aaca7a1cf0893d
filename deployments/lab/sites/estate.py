"""The estate file of the two sites, and the parts of it. Secrets are references."""

from pathlib import Path
from typing import Any

import yaml

from deployments.lab.sites import backup, texts
from deployments.lab.sites.content import DATABASE, DNS_TTL_S
from deployments.lab.sites.sites import API_KEY, OBSERVER_DSN, PATRONICTL, PYTHON, ROOT, SiteLab
from deployments.lab.sites.topology import (
    APPLICATION_NAME,
    DATABASE_NAME,
    DATABASE_PORT,
    DNS_API_PORT,
    DNS_PORT,
    DOMAIN,
    HEALTH_PORT,
    LEADER_PORT,
    LEDGER,
    MEMBERS,
    OPERATOR,
    PATRONI_PORT,
    SITES,
    SWITCH,
    WAN,
)

EXAMPLES = ROOT / "docs" / "reference" / "examples" / "drills"
VANTAGE_PORT = 4290
"""Of 'slipway vantage'."""
VANTAGE_POINTS = (OPERATOR, "client", "watch")
"""Hosts that one is expected on: none of them is in a site."""
COPY = "campus-copy"
"""What drills are practised on: the database of site A."""


BOTH = "campus-sites"
"""Both sites together."""


def region(site: str) -> str:
    """Return the name of a site's region."""
    return f"site-{site}"


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


def failover(lab: SiteLab) -> dict[str, Any]:
    """Return the failover of campus between both sites."""
    points = {name: {"url": f"http://{lab.address(name)}:{VANTAGE_PORT}"} for name in VANTAGE_POINTS}
    return {
        "service": "campus",
        "environment": "production",
        "scope": "regional",
        "sites": {region(name): site(lab, name) for name in MEMBERS},
        "dns": dns(lab),
        "names": [APPLICATION_NAME, DATABASE_NAME],
        "ttl": f"{DNS_TTL_S}s",
        "url": f"http://{APPLICATION_NAME}",
        "smoke": [{"path": "/health/ready", "expect": 200}],
        "objectives": {"rto": "60s", "rpo": "30s"},
        "system_id": lab.system_id,
        "lease": "10s",
        # PowerDNS shows a page of its own to whoever asks.
        "watch": {"points": points, "control": [f"http://{lab.address('dns')}:{DNS_API_PORT}/"], "every": "2s"},
    }


def both(lab: SiteLab) -> dict[str, Any]:
    """Return the database of both sites, as users reach it by name, to practise that one of them disappears."""
    nodes = {
        name: {"address": lab.reference(name), "entrance": lab.reference(f"edge-{site}")}
        for site, members in MEMBERS.items()
        for name in members
    }
    return {
        "id": lab.system_id,
        "address": lab.reference(DATABASE),
        "namespace": lab.topology.namespace("client"),
        "nodes": nodes,
        "facts": {"switch": lab.topology.namespace(SWITCH), "link": f"edge-{SITES[0]}.{SITES[0]}"},
        "releases": [{"service": "campus", "environment": "production"}],
        "objectives": {"rto": "60s", "rpo": "30s"},
    }


def copy(lab: SiteLab) -> dict[str, Any]:
    """Return site A's database as what drills are practised on, with the facts that the examples of drills name."""
    nodes = {
        name: {
            "address": lab.reference(name),
            "facts": {
                "data": str(lab.data(name)),
                # Of its own only where somebody has mounted a disk there.
                "mount": str(lab.disk(name)),
                "patroni": str(lab.patroni_file(name).parent),
                "namespace": lab.topology.namespace(name),
                "link": "a",
                "ip": lab.address(name),
            },
        }
        for name in MEMBERS["a"]
    }
    return {
        "id": lab.system_id,
        "address": lab.reference(DATABASE),
        "namespace": lab.topology.namespace("client"),
        "nodes": nodes,
        "facts": {"etcd": lab.address("etcd-a"), "router": lab.address("edge-a", "a")},
        "releases": [{"service": "campus", "environment": "production"}],
        "objectives": {"rto": "60s", "rpo": "0s"},
        **({"backup": BOTH} if lab.has_backup else {}),
    }


def backup_plan(lab: SiteLab) -> dict[str, Any]:
    """Return how site A's database is backed up, proven, and restored where it was."""
    secrets, name = lab.home / "secrets", backup.SOURCE
    node = lab.patroni_file(name).parent
    return {
        "engine": {
            "driver": "pgbackrest",
            "stanza": backup.STANZA,
            "folder": str(backup.engine_folder(lab.home)),
            "data": str(lab.data(name)),
            "socket_dir": str(backup.sockets(lab.run_folder, name)),
            "password": f"file:{secrets / texts.SUPERUSER}",
            "repositories": [{"path": str(backup.repository(lab.home)), "cipher_pass": f"file:{secrets / backup.KEY}"}],
        },
        "objectives": {"rto": "30m", "rpo": "1h"},
        "verification": {
            "database": {"driver": "postgresql", "address": lab.reference(backup.SUPERUSER_DSN)},
            "scratch": {"driver": "postgresql", "folder": str(lab.home / "scratch")},
            "name": DATABASE,
        },
        "targets": {
            name: {
                "source": True,
                "server": {
                    "driver": "postgresql",
                    "data": str(lab.data(name)),
                    "host": lab.address(name),
                    "port": DATABASE_PORT,
                    "start": [str(node / "take-over")],
                    "stop": [str(node / "stop")],
                },
            }
        },
    }


def whole(lab: SiteLab, ledger_dsn: str = "", **sections: Any) -> dict[str, Any]:
    """Return an estate file for the lab.

    Args:
        lab: that was started.
        ledger_dsn: reference to the ledger's address; '' for the lab's own, which is at neither site.
        sections: take the place of those of the same name.
    """
    always = {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "00:00", "until": "23:59"}
    # Nothing is released to it: its environment only says what a release would hold.
    production = {
        "url": f"http://{APPLICATION_NAME}",
        "replicas": 1,
        "runtime": {
            "driver": "supervisord",
            "socket": str(lab.run_folder / "supervisord.sock"),
            "programs": "instances",
            "releases": "releases",
            "logs": "logs",
            "ports": {"campus": {"blue": [22001], "green": [22011]}},
        },
        "router": {"driver": "haproxy", "socket": str(lab.edge_socket("a")), "state": "haproxy"},
        "metrics": {"driver": "prometheus", "url": "http://127.0.0.1:9090"},
    }
    found: dict[str, Any] = {
        "estate": "two-sites",
        "workspace": "work",
        "ledger": {"driver": "postgresql", "dsn": ledger_dsn or lab.reference(LEDGER)},
        "store": {"driver": "folder", "folder": "store"},
        "environments": {"production": production},
        "services": {"campus": {"repository": str(lab.home.parent / "demo" / "campus")}},
        "regions": {
            region("a"): {"role": "primary", "zone": "eu", "capacity": "60%", "priority": 1},
            region("b"): {"role": "standby", "zone": "eu", "capacity": "60%", "priority": 2},
        },
        "failovers": {"campus": failover(lab)},
        "drills": {
            "experiments": str(EXAMPLES),
            "business_hours": ["always"],
            "clusters": {COPY: copy(lab), BOTH: both(lab)},
        },
        "windows": {"always": {**always, "time_zone": "UTC"}},
        **({"backups": {BOTH: backup_plan(lab)}} if lab.has_backup else {}),
    }
    return {**found, **sections}


def write(lab: SiteLab, ledger_dsn: str = "", **sections: Any) -> Path:
    """The lab has its estate file; returns where. *Idempotent:* yes."""
    file = lab.home / "estate.yaml"
    text = yaml.safe_dump(whole(lab, ledger_dsn, **sections), sort_keys=False, width=120)
    file.write_text(
        f"# The two sites of the lab; 'slipway sites up' and 'slipway sites show' write it anew.\n{text}",
        encoding="utf-8",
    )
    return file
