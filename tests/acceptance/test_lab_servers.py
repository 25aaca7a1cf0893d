"""The lab's own servers, as `slipway up` has started them: who may ask them, and what they show of their secrets."""

from pathlib import Path

import httpx
import pytest

from tests.support.deliveries import github, pushed
from tests.support.lab import LabPlace, descendants
from tests.support.processes import arguments, wait_until
from tests.support.reconciling import reconcile

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_prefect_server_answers_nobody_without_the_auth_string_but_for_its_health(lab: LabPlace) -> None:
    url = lab.lab.api_url
    assert httpx.get(f"{url}/health").status_code == 200
    assert httpx.get(f"{url}/admin/version").status_code == 401
    assert httpx.get(f"{url}/admin/version", auth=("slipway", "wrong")).status_code == 401
    assert httpx.get(f"{url}/admin/version", headers=lab.lab.headers).status_code == 200


def test_no_secret_is_an_argument_of_any_process_or_in_a_log(lab: LabPlace) -> None:
    values = [path.read_text().strip() for path in (lab.lab.home / "secrets").iterdir()]
    secrets = [value.rpartition(":")[2] for value in values if "://" not in value]
    assert len(secrets) > 5
    supervisord = int((lab.lab.run_folder / "supervisord.pid").read_text())
    told = arguments(descendants(supervisord))
    logs = [path.read_text(errors="replace") for path in (lab.lab.home / "logs").glob("*.log")]
    assert len(told) > 5
    assert [secret for secret in secrets if any(secret in text for text in [*told, *logs])] == []


def test_receiver_takes_what_the_generated_secret_has_signed_and_nothing_else(lab: LabPlace) -> None:
    url, body = f"{lab.lab.receiver_url}/webhooks/github", pushed("1" * 40)
    secret = lab.lab.secret("webhook-github")
    assert httpx.post(url, content=body, headers=github(body, secret=secret)).status_code == 202
    assert httpx.post(url, content=body, headers=github(body, secret="another")).status_code == 401
    assert httpx.get(lab.lab.deliveries_url).status_code == 200


def test_runs_of_the_lab_start_warm(lab: LabPlace) -> None:
    # One that comes while that of the schedule is at work is cancelled.
    wait_until(lambda: reconcile(lab).state == "Completed", within_s=60, what="a reconciliation of its own")
    log = lab.lab.logs("prefect-worker").read_text()
    assert "runs start warm" in log
    assert "cold start" not in log


def test_no_port_is_one_that_the_system_gives_to_connections(lab: LabPlace) -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(lab.lab.ports.values()) < first, "a connection could have it before its server does"
