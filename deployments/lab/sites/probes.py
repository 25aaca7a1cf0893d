"""Looks at the sites' servers while they start: what is there by now. One that does not answer says no."""

import contextlib
from typing import Any

import httpx
from psycopg.pq import PGconn, Ping

from deployments.lab.sites.topology import APPLICATION_PORT, LEADER_PORT, PATRONI_PORT

_WITHIN_S = 2


def patroni(address: str) -> dict[str, Any]:
    """Return what a node's Patroni says of it; {} where it does not answer."""
    with contextlib.suppress(httpx.HTTPError, ValueError):
        return dict(httpx.get(f"http://{address}:{PATRONI_PORT}/patroni", timeout=_WITHIN_S).json())
    return {}


def streams(address: str) -> bool:
    """Return whether a node receives what is written elsewhere."""
    return patroni(address).get("replication_state") == "streaming"


def leads(edge: str) -> bool:
    """Return whether a site's leader answers where the other site asks for it."""
    return PGconn.ping(f"host={edge} port={LEADER_PORT} connect_timeout={_WITHIN_S}".encode()) == Ping.OK


def serves(edge: str) -> bool:
    """Return whether a site's application is ready for users."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://{edge}:{APPLICATION_PORT}/health/ready", timeout=_WITHIN_S).is_success
    return False
