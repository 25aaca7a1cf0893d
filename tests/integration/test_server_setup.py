"""The files of deployments/server, as they are shipped: TLS proxy, units, backup of the Prefect server's database."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest
import yaml

from blocks.postgresql import find_binaries
from deployments.lab.lab import ROOT
from tests.support.certificates import certificate
from tests.support.deliveries import RULE, SECRET, github, pushed
from tests.support.needs import need
from tests.support.postgresql import Cluster
from tests.support.processes import free_port, listens, running, wait_until

FILES = ROOT / "deployments/server"
UNITS = sorted(path.name for path in FILES.glob("*.service"))
AUTH = ("slipway", "a-long-random-text")


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_against_a_unit(unit: str, tmp_path: Path) -> None:
    assert _verified(unit, tmp_path, lambda text: text) == ""


def test_misspelt_key_of_a_unit_is_found(tmp_path: Path) -> None:
    said = _verified(UNITS[0], tmp_path, lambda text: text.replace("Restart=", "Restrat="))
    assert "Restrat" in said


def _verified(unit: str, folder: Path, change: Callable[[str], str]) -> str:
    """Return what systemd says of a unit, whose programs are those of this environment."""
    analyze = need("systemd-analyze")
    programs = str(Path(sys.executable).parent)
    text = change((FILES / unit).read_text()).replace("/opt/slipway/.venv/bin", programs).replace("User=", "#User=")
    (folder / unit).write_text(text)
    done = subprocess.run([analyze, "verify", folder / unit], capture_output=True, text=True, timeout=60)
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if unit in line)


def test_environment_files_have_no_secrets_and_name_only_settings_that_prefect_knows() -> None:
    from prefect.settings.legacy import _get_settings_fields
    from prefect.settings.models.root import Settings

    known = set(_get_settings_fields(Settings))
    for path in FILES.glob("*.env"):
        for name, value in re.findall(r"^([A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE):
            if re.search("PASSWORD|AUTH|SECRET", name) or ("://" in value and "@" in value):
                assert re.search("PASSWORD|LONG-RANDOM-TEXT", value), f"{path.name}: {name}"
            ours = name.startswith(("SLIPWAY_", "PREFECT_REDIS_"))
            assert ours or name in known, f"{path.name}: Prefect has no setting {name}"


@dataclass(frozen=True)
class Proxied:
    """A proxy with its Prefect server and receiver behind it."""

    url: str
    client: httpx.Client
    inside_port: int


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, postgresql_cluster: Cluster) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("server")
    ports = [free_port() for _ in range(4)]
    prefect, receiver, inside, https = ports
    shown = certificate(folder, "localhost", valid_for=timedelta(days=1))
    both = folder / "tls.pem"
    both.write_bytes(shown.certificate.read_bytes() + shown.key.read_bytes())
    with (
        _prefect(folder, prefect, postgresql_cluster.database()),
        _receiver(folder, receiver, inside, prefect, postgresql_cluster.database()),
        _proxy(folder, https, both, receiver, prefect),
        httpx.Client(verify=str(shown.certificate), timeout=30) as client,
    ):
        yield Proxied(f"https://localhost:{https}", client, inside)


@contextmanager
def _prefect(folder: Path, port: int, database: str) -> Iterator[None]:
    env = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_DATABASE_CONNECTION_URL": database.replace("postgresql:", "postgresql+asyncpg:"),
        "PREFECT_SERVER_API_AUTH_STRING": ":".join(AUTH),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    argv = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(argv, log=folder / "prefect.log", env=env):
        wait_until(lambda: listens(port), within_s=120, what="the Prefect server")
        yield


@contextmanager
def _receiver(folder: Path, port: int, inside: int, prefect: int, ledger: str) -> Iterator[None]:
    estate = folder / "estate.yaml"
    estate.write_text(yaml.safe_dump(_estate()))
    env = {
        "SLIPWAY_ESTATE": str(estate),
        "SLIPWAY_TEST_LEDGER": ledger,
        "SLIPWAY_TEST_WEBHOOK": SECRET,
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
        "PREFECT_API_AUTH_STRING": ":".join(AUTH),
        "PREFECT_HOME": str(folder / "receiver"),
    }
    argv = [sys.executable, "-m", "deployments.cli", "receive", "--port", str(port), "--inside-port", str(inside)]
    with running(argv, log=folder / "receiver.log", env=env, cwd=ROOT):
        wait_until(lambda: listens(port), within_s=60, what="the receiver")
        yield


def _estate() -> dict[str, object]:
    place = {driver: {"driver": "memory"} for driver in ("runtime", "router", "metrics")}
    rules = [RULE.model_dump(mode="json")]
    return {
        "estate": "receiving",
        "workspace": "work",
        "ledger": {"driver": "postgresql", "dsn": "env:SLIPWAY_TEST_LEDGER"},
        "store": {"driver": "folder", "folder": "store"},
        "environments": {"production": {"url": "http://127.0.0.1:1", "replicas": 1, **place}},
        "services": {"campus": {"repository": "nowhere"}},
        "webhooks": {"github": {"forge": "github", "secrets": ["env:SLIPWAY_TEST_WEBHOOK"], "rules": rules}},
    }


@contextmanager
def _proxy(folder: Path, https: int, certificate: Path, receiver: int, prefect: int) -> Iterator[None]:
    env = {
        "SLIPWAY_HTTPS": f"127.0.0.1:{https}",
        "SLIPWAY_CERTIFICATE": str(certificate),
        "SLIPWAY_RECEIVER": f"127.0.0.1:{receiver}",
        "SLIPWAY_PREFECT": f"127.0.0.1:{prefect}",
    }
    haproxy, file = str(need("haproxy")), str(FILES / "haproxy.cfg")
    checked = subprocess.run([haproxy, "-c", "-f", file], env={**os.environ, **env}, capture_output=True, text=True)
    assert (checked.returncode, "[WARNING]" in checked.stderr) == (0, False), checked.stderr
    with running([haproxy, "-db", "-f", file], log=folder / "proxy.log", env=env):
        wait_until(lambda: listens(https), what="the proxy")
        yield


@pytest.mark.server
def test_forge_reaches_the_receiver_through_the_proxy(proxied: Proxied) -> None:
    body = pushed("1" * 40)
    taken = proxied.client.post(f"{proxied.url}/webhooks/github", content=body, headers=github(body))
    assert (taken.status_code, taken.json()["status"]) == (202, "waiting")
    forged = proxied.client.post(f"{proxied.url}/webhooks/github", content=body, headers=github(body, secret="other"))
    assert forged.status_code == 401


@pytest.mark.server
def test_people_reach_the_prefect_server_through_the_proxy_with_the_auth_string_only(proxied: Proxied) -> None:
    assert proxied.client.get(f"{proxied.url}/api/health").status_code == 200
    assert proxied.client.get(f"{proxied.url}/api/admin/version").status_code == 401
    answer = proxied.client.get(f"{proxied.url}/api/admin/version", auth=AUTH)
    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"]
    assert "Prefect" in proxied.client.get(f"{proxied.url}/").text


@pytest.mark.server
@pytest.mark.parametrize(
    "path",
    ["/webhooks/", "/webhooks/github", "/webhooks/../metrics", "/webhooks/%2e%2e/health/ready", "/webhooks//metrics"],
)
def test_nothing_else_of_the_receiver_is_reached_through_the_proxy(proxied: Proxied, path: str) -> None:
    answer = _get(proxied, path)
    assert answer.status_code in (401, 404, 405)
    # What it must not be, and is for whoever is inside.
    inside = httpx.get(f"http://127.0.0.1:{proxied.inside_port}/metrics")
    assert "slipway_deliveries" in inside.text
    assert "slipway_deliveries" not in answer.text


def _get(proxied: Proxied, path: str) -> httpx.Response:
    """Ask for the path as it is: no client must tidy it up."""
    url = httpx.URL(proxied.url).copy_with(raw_path=path.encode())
    return proxied.client.get(url)


@pytest.mark.server
@pytest.mark.parametrize("path", ["/metrics", "/deliveries", "/health/live", "/health/ready"])
def test_page_and_figures_of_the_receiver_are_not_reached_through_the_proxy(proxied: Proxied, path: str) -> None:
    answer = proxied.client.get(f"{proxied.url}{path}")
    assert "slipway" not in answer.text.lower()


@pytest.mark.server
def test_proxy_speaks_nothing_but_tls(proxied: Proxied) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(proxied.url.replace("https:", "http:"), timeout=10).raise_for_status()


@pytest.mark.server
@pytest.mark.slow
def test_database_of_the_prefect_server_is_restored_from_its_dump(tmp_path: Path, postgresql_cluster: Cluster) -> None:
    lost, port = postgresql_cluster.database(), free_port()
    url = f"http://127.0.0.1:{port}/api"
    with _prefect(tmp_path, port, lost):
        made = httpx.post(f"{url}/flows/", json={"name": "kept"}, auth=AUTH, timeout=30).json()
    _pg("pg_dump", lost, "--format=custom", f"--file={tmp_path}/prefect.dump")
    restored = postgresql_cluster.database()
    _pg("pg_restore", restored, "--exit-on-error", "--no-owner", f"--dbname={restored}", f"{tmp_path}/prefect.dump")
    with _prefect(tmp_path, port, restored):
        found = httpx.get(f"{url}/flows/name/kept", auth=AUTH, timeout=30).json()
    assert found["id"] == made["id"]


def _pg(program: str, database: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs about a database; its password is no argument."""
    parts = urlsplit(database)
    assert parts.hostname and parts.port and parts.username and parts.password
    target = [f"--host={parts.hostname}", f"--port={parts.port}", f"--username={parts.username}"]
    name = parts.path.removeprefix("/")
    given = [argument.replace(database, name) for argument in arguments]
    tail = [name] if program == "pg_dump" else []
    found = find_binaries() / program
    env = {**os.environ, "PGPASSWORD": unquote(parts.password)}
    done = subprocess.run([found, *target, *given, *tail], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
