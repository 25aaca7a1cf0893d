"""HAProxy's side of the router: what things are called, and the configuration that the router works with.

HAProxy 2.6 or later. The configuration is complete; who has one already takes `service_sections` into it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from blocks.routers.shares import WHOLE
from tasks.common.errors import Refused
from tasks.rollout.model import SLOTS

CAPACITY = 20
"""Servers a slot, unless the estate file says otherwise."""

SHARE_KEY = "green"
"""The share map's only key. Its value is green's share of new requests; without it there is no release yet."""

UNSET_ADDRESS = "0.0.0.0:1"
"""Address of a server that nobody is admitted to."""

_PLAIN_PATH = re.compile(r"/[\w./@+-]+", re.ASCII)


@dataclass(frozen=True)
class Exposed:
    """One service in one environment, and the address ('host:port') that HAProxy takes its requests on."""

    service: str
    environment: str
    address: str


@dataclass(frozen=True)
class Names:
    """What things are called in HAProxy, for one service in one environment.

    Args:
        service: its name, lower-case letters, digits and dashes.
        environment: likewise.
        state: folder of the state files; the same for HAProxy and for Slipway.
    """

    service: str
    environment: str
    state: Path

    @property
    def frontend(self) -> str:
        """Return 'campus_production'."""
        return f"{self.service}_{self.environment}"

    @property
    def nowhere(self) -> str:
        """Return the name of the backend that answers when no slot can."""
        return f"{self.frontend}_none"

    def backend(self, slot: str) -> str:
        """Return 'campus_production_green'."""
        return f"{self.frontend}_{slot}"

    def server(self, slot: str, index: int) -> str:
        """Return 'campus_production_green/s0', as the runtime API wants it."""
        return f"{self.backend(slot)}/s{index}"

    @property
    def share_map(self) -> Path:
        """Return the map file that holds green's share of new requests."""
        return plain(self.state / f"{self.frontend}.map")

    @property
    def health_map(self) -> Path:
        """Return the map file that holds the path of each server's health check, by 'slot/server'."""
        return plain(self.state / f"{self.frontend}_health.map")

    @property
    def fence(self) -> Path:
        """Return the file that holds the token of the newest lease."""
        return self.state / f"{self.frontend}.fence"

    def servers_file(self, slot: str) -> Path:
        """Return the server-state file of a slot."""
        return plain(self.state / f"{self.backend(slot)}.servers")


def plain(path: Path) -> Path:
    """Return the path as HAProxy is told it: absolute, without links and dots.

    Raises:
        Refused: it has characters that HAProxy's configuration or runtime API would read otherwise.
    """
    resolved = path.resolve()
    if not _PLAIN_PATH.fullmatch(str(resolved)):
        raise Refused(
            "a path has characters that cannot be written in HAProxy's configuration",
            on=str(resolved),
            next_action="use a folder whose path has only letters, digits and . / _ @ + -",
        )
    return resolved


def render(
    exposed: Sequence[Exposed], *, socket: Path, state: Path, metrics_address: str, capacity: int = CAPACITY
) -> str:
    """Return a complete haproxy.cfg.

    The map files that it names must exist before HAProxy starts (`haproxy_files.create_maps`).

    Args:
        exposed: what is reached through this HAProxy.
        socket: where the runtime API's socket will be.
        state: folder of the state files.
        metrics_address: 'host:port' of the Prometheus exporter.
        capacity: servers a slot.

    Raises:
        Refused: a path cannot be written in HAProxy's configuration.
    """
    head = _GLOBAL.substitute(socket=plain(socket), metrics_address=metrics_address)
    return head + "".join(service_sections(each, state=state, capacity=capacity) for each in exposed)


def service_sections(exposed: Exposed, *, state: Path, capacity: int = CAPACITY) -> str:
    """Return the frontend and the backends of one service in one environment.

    They depend on nothing in `global` but the runtime API's socket, so that they fit into any configuration.

    Raises:
        Refused: a path cannot be written in HAProxy's configuration.
    """
    names = Names(exposed.service, exposed.environment, state)
    values = {
        "service": exposed.service,
        "environment": exposed.environment,
        "address": exposed.address,
        "frontend": names.frontend,
        "nowhere": names.nowhere,
        "blue": names.backend("blue"),
        "green": names.backend("green"),
        "share_map": str(names.share_map),
        "share_key": SHARE_KEY,
        "steps": str(WHOLE),
    }
    front = _FRONTEND.substitute(values)
    return front + "".join(
        _BACKEND.substitute(
            slot=slot,
            service=exposed.service,
            backend=names.backend(slot),
            health_map=names.health_map,
            servers_file=names.servers_file(slot),
            last=capacity - 1,
            unset_port=UNSET_ADDRESS.rpartition(":")[2],
            unset_host=UNSET_ADDRESS.rpartition(":")[0],
        )
        for slot in SLOTS
    )


_GLOBAL = Template("""\
# Written by Slipway. Shares and members are not in here: Slipway sets them through the runtime API, and keeps them in
# map files and server-state files, which HAProxy reads when it starts or reloads.

global
    # 'admin' lets Slipway set servers; who can write to the socket rules the traffic, so only its owner may.
    stats socket $socket level admin mode 600 expose-fd listeners
    stats timeout 1m
    # A reload leaves the old worker to finish its requests; without a limit one endless stream keeps it for days.
    hard-stop-after 90s

defaults
    mode http
    timeout client 60s
    timeout connect 2s
    timeout server 60s

# Prometheus reads it at /metrics; with '?no-maint' servers that nobody is admitted to are left out.
frontend slipway_metrics
    bind $metrics_address
    http-request use-service prometheus-exporter if { path /metrics }
    http-request return status 404 content-type text/plain string "see /metrics\\n"
""")

_FRONTEND = Template("""
# ---- $service in $environment ----

frontend $frontend
    mode http
    bind $address
    option forwardfor
    timeout client 60s
    timeout http-request 10s
    timeout http-keep-alive 60s
    # Green's share of new requests in thousandths of a per cent; blue gets the rest. -1: there is no release yet.
    http-request set-var(txn.green) str($share_key),map_str_int($share_map,-1)
    # One draw a request, kept with it.
    http-request set-var(txn.draw) rand($steps)
    acl released var(txn.green) -m int ge 0
    acl draws_green var(txn.green),sub(txn.draw) gt 0
    acl blue_is_up nbsrv($blue) gt 0
    acl green_is_up nbsrv($green) gt 0
    # After a reload the old worker finishes what it has. It counts no server as usable any more, so it goes by shares.
    acl blue_is_up stopping
    acl green_is_up stopping
    # A slot without a member that is up gets nothing while the other slot has one, whatever the shares say.
    use_backend $green if released draws_green green_is_up
    use_backend $blue if released blue_is_up
    use_backend $green if released green_is_up
    default_backend $nowhere

backend $nowhere
    mode http
    http-request return status 503 content-type text/plain hdr Retry-After 5 \
string "no release of $service serves $environment yet\\n" if { var(txn.green) -m int lt 0 }
    http-request return status 503 content-type text/plain hdr Retry-After 5 \
string "no instance of $service is up in $environment\\n"
""")

_BACKEND = Template("""
backend $backend
    mode http
    balance roundrobin
    timeout connect 2s
    timeout queue 10s
    timeout server 60s
    timeout check 2s
    # A request whose server has gone is sent to another one. One that the server may have begun to work on is only sent
    # again if doing it twice does no harm.
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response
    http-request disable-l7-retry unless { method GET HEAD OPTIONS }
    http-reuse safe
    # The readiness path of each server, set when it is admitted.
    option httpchk
    http-check set-var(check.server) srv_name
    http-check send meth GET uri-lf %[str($slot/),concat(,check.server),map($health_map,/)] \
ver HTTP/1.1 hdr Host $service
    http-check expect status 200-299
    # Address, port and state of each server as they were. The name that never resolves is needed: HAProxy takes an
    # address from the file only for servers that have a name. The port must not be 0, which means 'the client's'.
    load-server-state-from-file local
    server-state-file-name $servers_file
    # Two failed checks take a server out, one good one brings it back; a failed connection hurries the next check.
    # Idle connections are dropped well before the usual 5 s after which an application closes them.
    default-server check inter 500ms fastinter 100ms downinter 250ms fall 2 rise 1
    default-server observe layer4 error-limit 1 on-error fastinter pool-purge-delay 1s
    server-template s 0-$last unset.invalid:$unset_port init-addr last,$unset_host disabled
""")
