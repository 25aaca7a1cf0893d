"""The configuration that the HAProxy router works with."""

import subprocess
from pathlib import Path

import httpx
import pytest

from blocks.context import Context
from blocks.routers.haproxy import HaproxyRouter
from blocks.routers.haproxy_config import Exposed, render
from blocks.routers.haproxy_files import create_maps
from tasks.common.errors import Refused
from tests.support.haproxy import (
    BLUE,
    TARGET,
    Haproxy,
    count_answers,
)
from tests.support.needs import need

pytestmark = pytest.mark.server


def test_prometheus_reads_requests_by_slot(haproxy: Haproxy, router: HaproxyRouter) -> None:
    count_answers(haproxy.port, 100)
    metrics = httpx.get(f"http://127.0.0.1:{haproxy.metrics_port}/metrics?no-maint").text
    assert f'haproxy_backend_http_responses_total{{proxy="{BLUE}",code="2xx"}} 100' in metrics
    assert httpx.get(f"http://127.0.0.1:{haproxy.metrics_port}/").status_code == 404


def test_configuration_of_several_services_and_a_large_capacity_is_valid(tmp_path: Path) -> None:
    exposed = [Exposed("campus", "production", "127.0.0.1:8001"), Exposed("two-words", "staging", "127.0.0.1:8002")]
    create_maps(exposed, tmp_path)
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        render(exposed, socket=tmp_path / "s", state=tmp_path, metrics_address="127.0.0.1:8003", capacity=1000)
    )
    checked = subprocess.run([need("haproxy"), "-c", "-f", config], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    notes = [line for line in checked.stderr.splitlines() if "WARNING" in line]
    assert all("Can't open server state file" in line for line in notes), "there is no state before the first release"


def test_configuration_refuses_a_folder_that_haproxy_would_read_otherwise(tmp_path: Path) -> None:
    for name in ("with space", "a,b", "a;b", "a)b", 'a"b', "a$b"):
        with pytest.raises(Refused, match="cannot be written in HAProxy's configuration"):
            create_maps([Exposed("campus", "production", "127.0.0.1:8001")], tmp_path / name)


def test_maps_that_are_there_are_kept(haproxy: Haproxy, router: HaproxyRouter) -> None:
    create_maps([Exposed(TARGET.service, TARGET.environment, "127.0.0.1:1")], haproxy.state)
    assert router.observe().persisted


def test_router_needs_a_target(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="one service in one environment"):
        HaproxyRouter(HaproxyRouter.Settings(socket="s", state="."), Context(tmp_path))
