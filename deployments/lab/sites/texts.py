"""The configuration files of the two sites' servers, as text. Nothing here touches the disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployments.lab.sites.topology import (
    APPLICATION_PORT,
    DATABASE_PORT,
    ETCD_PORT,
    HEALTH_PORT,
    INSTANCE_PORT,
    LEADER_PORT,
    MEMBERS,
    PATRONI_PORT,
    WAN,
    Topology,
)

TTL_S = 20
"""Patroni's lease of the leader. Its documentation allows no shorter one."""
LOOP_WAIT_S = 1
RETRY_TIMEOUT_S = 3
SUPERUSER, REPLICATOR, OBSERVER, API_USER = "postgres", "replicator", "observer", "slipway"
DOOR_KEY = "door"


@dataclass(frozen=True)
class Member:
    """What Patroni is told about one node.

    Args:
        site: 'a' or 'b'.
        name: of the node.
        data: folder of its database.
        run: folder for its password file.
        binaries: folder of PostgreSQL's programs.
        secrets: passwords by user.
        parameters: settings of its server alone.
    """

    site: str
    name: str
    data: Path
    run: Path
    binaries: Path
    secrets: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)


def scope(site: str) -> str:
    """Return the name of a site's cluster."""
    return f"campus-{site}"


def slot(site: str) -> str:
    """Return the name of the replication slot that a site's leader uses at the other site."""
    return f"site_{site}"


def patroni(topology: Topology, member: Member) -> str:
    """Return a node's configuration: JSON, which is YAML. It holds passwords.

    *Source:* Patroni's dynamic_configuration.rst (ttl 20 is the floor, loop_wait + 2 * retry_timeout <= ttl) and
    standby_cluster.rst. With synchronous mode a crashed primary may be given up at once (primary_start_timeout 0).
    """
    address = topology.address(member.name)
    return json.dumps(
        {
            "scope": scope(member.site),
            "name": member.name,
            "restapi": {
                "listen": f"{address}:{PATRONI_PORT}",
                "connect_address": f"{address}:{PATRONI_PORT}",
                "authentication": {"username": API_USER, "password": member.secrets[API_USER]},
            },
            "ctl": {"authentication": {"username": API_USER, "password": member.secrets[API_USER]}},
            "etcd3": {"hosts": [f"{topology.address(f'etcd-{member.site}')}:{ETCD_PORT}"]},
            "bootstrap": {
                "dcs": _dynamic(topology, member.site),
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums", "no-sync"],
            },
            "postgresql": {
                "listen": f"{address},127.0.0.1:{DATABASE_PORT}",
                "connect_address": f"{address}:{DATABASE_PORT}",
                "data_dir": str(member.data),
                "bin_dir": str(member.binaries),
                "pgpass": str(member.run / "pgpass"),
                "authentication": {
                    "superuser": {"username": SUPERUSER, "password": member.secrets[SUPERUSER]},
                    "replication": {"username": REPLICATOR, "password": member.secrets[REPLICATOR]},
                },
                "parameters": {"unix_socket_directories": "", **member.parameters},
                "pg_hba": [
                    "local all all scram-sha-256",
                    "host all all 127.0.0.1/32 scram-sha-256",
                    f"host replication {REPLICATOR} 127.0.0.1/32 scram-sha-256",
                    f"host all all {topology.everything} scram-sha-256",
                    f"host replication {REPLICATOR} {topology.everything} scram-sha-256",
                ],
                # Else it waits for the next checkpoint by the clock, minutes away.
                "basebackup": [{"checkpoint": "fast"}, "no-sync"],
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
        },
        indent=1,
    )


def follows(topology: Topology, site: str) -> dict[str, Any]:
    """Return how the site's cluster follows the other one: its leader, through its edge."""
    (other,) = set(MEMBERS) - {site}
    return {"host": topology.address(f"edge-{other}", WAN), "port": LEADER_PORT, "primary_slot_name": slot(site)}


def _dynamic(topology: Topology, site: str) -> dict[str, Any]:
    (other,) = set(MEMBERS) - {site}
    settings: dict[str, Any] = {
        "ttl": TTL_S,
        "loop_wait": LOOP_WAIT_S,
        "retry_timeout": RETRY_TIMEOUT_S,
        "synchronous_mode": True,
        "primary_start_timeout": 0,
        # What the other site follows with; kept by every member, so that it is there after a failover, too.
        "slots": {slot(other): {"type": "physical"}},
        "postgresql": {
            "use_pg_rewind": True,
            "parameters": {
                "max_connections": 300,
                "shared_buffers": "32MB",
                "wal_keep_size": "128MB",
                # A site that is away must not fill the disk of the one that works.
                "max_slot_wal_keep_size": "512MB",
                "wal_sender_timeout": "5s",
                "wal_receiver_timeout": "5s",
                "wal_retrieve_retry_interval": "1s",
            },
        },
    }
    return settings if site == "a" else {**settings, "standby_cluster": follows(topology, site)}


def etcd(topology: Topology, site: str, data: Path) -> list[str]:
    """Return the argument list of a site's etcd."""
    client = f"http://{topology.address(f'etcd-{site}')}:{ETCD_PORT}"
    peer = "http://127.0.0.1:2380"
    return [
        "etcd",
        f"--name=etcd-{site}",
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=etcd-{site}={peer}",
        "--logger=zap",
        "--log-level=warn",
    ]


def edge(topology: Topology, site: str, socket: Path, door: Path) -> str:
    """Return the configuration of a site's HAProxy: users come in by it, and the other site's replication.

    Args:
        topology: where all is.
        site: 'a' or 'b'.
        socket: its runtime socket.
        door: the map file that says whether users are let in.
    """
    # The door is for users. The other site follows past it, or a planned move could not catch up behind a closed door.
    ways = (
        (_frontend("database", "tcp", DATABASE_PORT, "primary", door), "primary", "/primary"),
        (_frontend("following", "tcp", LEADER_PORT, "leader"), "leader", "/leader"),
    )
    parts = [_HEAD.format(socket=socket)]
    for frontend, backend, path in ways:
        servers = "".join(
            f"  server {node} {topology.address(node)}:{DATABASE_PORT} check port {PATRONI_PORT}\n"
            for node in MEMBERS[site]
        )
        parts.append(frontend + _DATABASE.format(name=backend, path=path) + servers)
    application = f"{topology.address(f'app-{site}')}:{INSTANCE_PORT}"
    parts.append(_frontend("application", "http", APPLICATION_PORT, "application", door))
    parts.append(_APPLICATION.format(address=application))
    parts.append(_HEALTH.format(port=HEALTH_PORT))
    return "\n".join(parts)


_HEAD = """\
global
  stats socket {socket} mode 600 level admin
  maxconn 2000
defaults
  timeout connect 2s
  timeout check 1s
  # A replication connection may be quiet; what is dead is found by the health checks, and by TCP.
  timeout client 1h
  timeout server 1h
  # Who has gone away waits for no answer of a site that is cut off: nothing else would end that connection.
  timeout server-fin 1s
  option clitcpka
  option srvtcpka
"""
_DATABASE = """\
backend {name}
  mode tcp
  option httpchk GET {path}
  http-check expect status 200
  # Who waits for a primary and gives up must not be let in before who still waits.
  option abortonclose
  default-server inter 1s fastinter 250ms downinter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
"""
_APPLICATION = """\
backend application
  mode http
  timeout server 10s
  option httpchk GET /health/ready
  http-check expect status 200
  server campus {address} check inter 1s fastinter 250ms downinter 500ms fall 2 rise 1
"""
# For whoever watches, past the door: whether a node here takes writes, as HAProxy's own checks of Patroni have it.
_HEALTH = """\
frontend health
  mode http
  bind :{port}
  monitor-uri /primary
  monitor fail if {{ nbsrv(primary) lt 1 }}
"""


def _frontend(name: str, mode: str, port: int, backend: str, door: Path | None = None) -> str:
    # Whoever comes by HTTP may keep a connection: each request asks anew.
    rule = "tcp-request connection reject" if mode == "tcp" else "http-request reject"
    closed = f"  {rule} if {{ str({DOOR_KEY}),map({door},closed) -m str closed }}\n"
    return f"frontend {name}\n  mode {mode}\n  bind :{port}\n{closed if door else ''}  default_backend {backend}\n"


@dataclass(frozen=True)
class DnsServer:
    """Where a PowerDNS answers, and what it keeps.

    Args:
        address: of its own.
        port: for clients, UDP and TCP.
        api_port: for changes.
        network: whoever is in it may use the API, with the key.
        database: SQLite file with its zones.
        run: folder for its control socket.
    """

    address: str
    port: int
    api_port: int
    network: str
    database: Path
    run: Path


def dns(server: DnsServer, api_key: str) -> str:
    """Return the configuration of PowerDNS. Nothing is cached: a change is what the next client is answered.

    *Source:* PowerDNS Authoritative Server 4.7, settings.
    """
    settings = {
        "launch": "gsqlite3",
        "gsqlite3-database": server.database,
        "local-address": server.address,
        "local-port": server.port,
        "webserver": "yes",
        "webserver-address": server.address,
        "webserver-port": server.api_port,
        "webserver-allow-from": server.network,
        "api": "yes",
        "api-key": api_key,
        "cache-ttl": 0,
        "query-cache-ttl": 0,
        "negquery-cache-ttl": 0,
        "zone-cache-refresh-interval": 0,
        "daemon": "no",
        "guardian": "no",
        "disable-syslog": "yes",
        "write-pid": "no",
        "socket-dir": server.run,
        "security-poll-suffix": "",
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
