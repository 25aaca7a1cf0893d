"""campus at both sites: users ask the DNS server where it is, and get the site that takes writes."""

import http.client
import json
import subprocess
import sys

import pytest

from deployments.lab.sites.topology import APPLICATION_NAME, DATABASE_NAME, HEALTH_PORT
from tests.support.processes import wait_until
from tests.support.sites import Sites

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
_ASK = """\
import sys, urllib.request
with urllib.request.urlopen(f"http://{sys.argv[1]}{sys.argv[2]}", timeout=5) as answer:
    print(answer.read().decode())
"""


def _as_a_user(sites: Sites, path: str) -> str:
    """Return what a user on the client's host is answered, by name; '' for no answer."""
    argv = sites.lab.network.command("client", [sys.executable, "-c", _ASK, APPLICATION_NAME, path])
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20).stdout.strip()


def _serving(sites: Sites) -> str:
    """Return the site whose campus answers a user, with its database; '' for none."""
    answer = _as_a_user(sites, "/health")
    facts = json.loads(answer) if answer else {}
    return str(facts.get("release", "")).removeprefix("site-") if facts.get("database") == "reachable" else ""


def _takes_writes(sites: Sites, site: str) -> bool:
    connection = http.client.HTTPConnection(sites.edge(site), HEALTH_PORT, timeout=5)
    connection.request("GET", "/primary")
    return connection.getresponse().status == 200


def test_users_get_campus_at_the_site_that_takes_writes(sites: Sites) -> None:
    wait_until(lambda: _serving(sites) == "a", what="campus at site A")
    assert "Weather for sailors" in _as_a_user(sites, "/api/v1/courses")
    assert _takes_writes(sites, "a") and not _takes_writes(sites, "b")


def test_users_get_campus_at_the_other_site_once_that_has_taken_over(sites: Sites) -> None:
    a, b = sites.cluster("a"), sites.cluster("b")
    sites.door("a").close()
    a.fence()
    wait_until(lambda: a.observe().lsn == b.observe().lsn, what="site B to have all")
    b.promote()
    for name in (APPLICATION_NAME, DATABASE_NAME):
        sites.dns().point(name, [sites.edge("b")], 5)
    wait_until(lambda: _serving(sites) == "b", what="campus at site B")
    assert "Weather for sailors" in _as_a_user(sites, "/api/v1/courses")
    wait_until(lambda: _takes_writes(sites, "b") and not _takes_writes(sites, "a"), what="what is told to watchers")


def test_who_kept_a_connection_gets_no_further_request_through_a_closed_door(sites: Sites) -> None:
    connection = http.client.HTTPConnection(sites.edge("a"), 80, timeout=5)
    connection.request("GET", "/health/ready", headers={"Host": APPLICATION_NAME})
    assert connection.getresponse().read()
    kept = connection.sock
    sites.door("a").close()
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        connection.request("GET", "/health/ready", headers={"Host": APPLICATION_NAME})
        assert connection.sock is kept, "it is the same connection"
        connection.getresponse()
    sites.door("a").open()
