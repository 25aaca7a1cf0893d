"""A private PowerDNS on 127.0.0.1 with one zone, ended by its process id."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from deployments.lab.sites import texts
from deployments.lab.sites.content import make_zones
from tests.support.needs import need
from tests.support.processes import free_port, running, wait_until

KEY = "the-key-of-the-test"
ZONE = "campus.test"


@dataclass(frozen=True)
class RunningDns:
    """Where it answers."""

    api: str
    server: str
    key_file: Path

    def settings(self) -> dict[str, object]:
        """Return the driver's settings."""
        return {"api": self.api, "api_key": f"file:{self.key_file}", "zone": ZONE, "server": self.server}


@contextlib.contextmanager
def running_powerdns(folder: Path) -> Iterator[RunningDns]:
    """A server runs for the length of a `with`. Not installed: a skip, in CI a failure."""
    program = need("pdns_server")
    port, api_port = free_port(), free_port()
    zones = folder / "zones.sqlite3"
    make_zones(zones)
    server = texts.DnsServer("127.0.0.1", port, api_port, "127.0.0.0/8", zones, folder)
    (folder / "pdns.conf").write_text(texts.dns(server, KEY))
    key_file = folder / "api-key"
    key_file.write_text(KEY)
    api = f"http://127.0.0.1:{api_port}"
    with running([str(program), f"--config-dir={folder}"], log=folder / "pdns.log"):
        wait_until(lambda: _has_zone(api), what="PowerDNS")
        yield RunningDns(api, f"127.0.0.1:{port}", key_file)


def _has_zone(api: str) -> bool:
    zone = {"name": f"{ZONE}.", "kind": "Native", "nameservers": [f"ns.{ZONE}."]}
    try:
        url, headers = f"{api}/api/v1/servers/localhost/zones", {"X-API-Key": KEY}
        return httpx.post(url, json=zone, headers=headers, timeout=5, trust_env=False).status_code == 201
    except httpx.TransportError:
        return False
