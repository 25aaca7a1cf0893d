"""Preflight: each fault planted for real, all of them found, and all of them told in one error."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.routers.haproxy_config import Names
from tasks.common.errors import Refused
from tasks.release.model import Outcome
from tests.support.certificates import certificate, serving
from tests.support.http_server import answering, plain
from tests.support.processes import free_port
from tests.support.small import RUN_SECRET, TEST_SECRET, Small
from tests.support.small_checks import assert_recorded, assert_says, assert_untouched, facts_of, production

pytestmark = pytest.mark.server

HOST = "campus.example"


def without_port(name: str) -> str:
    """Return a finding's name as it is in every run."""
    return re.sub(r" at 127\.0\.0\.1:\d+", "", name)


def findings(small: Small, ended: Any) -> dict[str, bool]:
    """Return what the ledger has of the run's preflight, by name."""
    return {item.name: item.facts["ok"] is True for item in small.evidence(ended, "preflight")}


@dataclass(frozen=True)
class Servers:
    """Addresses of servers: TLS by certificate, what answers 200 and 503, what reports an incident, and nobody."""

    tls: dict[str, str]
    authorities: dict[str, str]
    fine: str
    broken: str
    incident: str
    nowhere: str

    def trusting(self, name: str, server_name: str, address: str = "") -> dict[str, str]:
        return {"address": address or self.tls[name], "server_name": server_name, "ca": self.authorities[name]}


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Servers run for the length of a `with`; the certificates are sound, end soon, or have ended."""
    lives = {"sound": timedelta(days=90), "short": timedelta(days=13), "past": timedelta(days=-1)}
    hosts = {"sound": HOST, "short": HOST, "past": "past.example"}
    shown = {name: certificate(folder, hosts[name], valid_for=life) for name, life in lives.items()}
    with ExitStack() as running:
        yield Servers(
            tls={name: running.enter_context(serving(each)) for name, each in shown.items()},
            authorities={name: str(each.certificate) for name, each in shown.items()},
            fine=running.enter_context(answering(lambda _: plain(200, '{"open": 0}'))),
            broken=running.enter_context(answering(lambda _: plain(503, '{"open": 0}'))),
            incident=running.enter_context(answering(lambda _: plain(200, '{"open": 2}'))),
            nowhere=f"127.0.0.1:{free_port()}",
        )


def all_well(there: Servers) -> dict[str, Any]:
    sql = "select count(*) from slipway.release_record where service = 'x%%' || %(service)s"
    return {
        "reachable": [
            {"name": "database", "address": there.tls["sound"]},
            {"name": "mail", "address": f"{there.fine}/x"},
        ],
        "certificates": [there.trusting("sound", HOST)],
        "checks": [
            {"name": "no incident", "http": {"url": there.fine, "figure": "/open"}, "unit": "count", "at_most": 0},
            {"name": "system healthy", "promql": "vector(0.5)", "unit": "percent", "at_most": "1%"},
            {"name": "nothing fails", "sql": sql, "unit": "count", "at_most": 0},
            {"name": "status page", "http": {"url": there.broken, "expect": 503}},
        ],
    }


def all_faulty(there: Servers) -> dict[str, Any]:
    sql = "select count(*) from slipway.release_record where service = %(service)s and outcome_missing is null"
    return {
        "reachable": [
            {"name": "database", "address": there.nowhere},
            {"name": "mail", "address": f"{there.broken}/x"},
        ],
        "certificates": [
            there.trusting("short", HOST),
            there.trusting("past", "past.example"),
            there.trusting("sound", "other.example"),
            there.trusting("sound", "gone.example", there.nowhere),
        ],
        "checks": [
            {"name": "no incident", "http": {"url": there.incident, "figure": "/open"}, "unit": "count", "at_most": 0},
            {"name": "system healthy", "promql": "vector(1.5)", "unit": "percent", "at_most": "1%"},
            {"name": "has data", "promql": "absent_metric", "unit": "percent", "at_most": "1%"},
            {"name": "nothing fails", "sql": sql, "unit": "count", "at_most": 0},
            {"name": "status page", "http": {"url": there.broken}},
        ],
    }


def preflight(**more: object) -> Mapping[str, object]:
    return {"cpu_free_at_least": "0%", "memory_free_at_least": "1%", "disk_free_at_least": "1%", **more}


WRONG = {
    "workspace: disk": "of the disk is free, less than 100 %",
    "production: processors": "of the processors is free, less than 100 %",
    "production: memory": "of the memory is free, less than 100 %",
    "production: disk": "of the disk is free, less than 100 %",
    "production: every instance serves": "1 of 2 instances with traffic are up",
    "production: database is reachable": "no connection: Connection refused",
    "production: mail is reachable": "it answers HTTP 503",
    f"production: certificate of {HOST}": f"the certificate of {HOST} ends ",
    "production: certificate of past.example": "not accepted for past.example: certificate has expired",
    "production: certificate of other.example": "not accepted for other.example: Hostname mismatch",
    "production: certificate of gone.example": "no connection: Connection refused",
    "production: secrets are there": f"a secret is missing [env:{RUN_SECRET}]",
    "staging: secrets are there": f"a secret is missing [env:{RUN_SECRET}]",
    "secrets of the tests are there": f"a secret is missing [env:{TEST_SECRET}]",
    "production: no incident": "2 is not at most 0",
    "production: system healthy": "1.5 % is not at most 1 %",
    "production: has data": "there is no figure",
    "production: nothing fails": 'column "outcome_missing" does not exist',
    "production: status page": "it answers HTTP 503, not 200",
}


def test_all_faults_at_once_are_told_in_one_error_and_nothing_is_built(
    small: Small, serving: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = small.commit(
        test={"steps": [{"name": "unit", "command": ["true"]}], "secrets": ["TEST_TOKEN"]},
    )
    monkeypatch.delenv(RUN_SECRET)
    monkeypatch.delenv(TEST_SECRET)
    all_free = {f"{each}_free_at_least": "100%" for each in ("cpu", "memory", "disk")}
    with (
        servers(tmp_path) as there,
        production(small, replicas=2, preflight=preflight(**{**all_free, **all_faulty(there)})),
    ):
        ended = small.release(commit)
    count = f"preflight found {len(WRONG)} problems"
    assert_says(ended, Refused, count, "campus to", "nothing was changed", "mend all")
    found = {without_port(name): text for name, text in facts_of(ended).items()}
    assert found.keys() == WRONG.keys()
    assert {name: text for name, text in WRONG.items() if text not in found[name]} == {}
    assert {name: text for name, text in found.items() if not text.endswith(")")} == {}, "each says what to do"
    recorded = {without_port(name): well for name, well in findings(small, ended).items()}
    assert {name for name, well in recorded.items() if not well} == WRONG.keys()
    assert {"artefact store answers", "staging: router answers, and stable is healthy"} <= recorded.keys()
    assert small.evidence(ended, "check-out") == []
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)


def test_what_is_well_is_recorded_as_well(
    small: Small, serving: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = small.commit()
    monkeypatch.delenv(RUN_SECRET)
    with servers(tmp_path) as there, production(small, preflight=preflight(**all_well(there))):
        ended = small.release(commit)
    assert facts_of(ended).keys() == {"staging: secrets are there", "production: secrets are there"}
    well = {name for name, good in findings(small, ended).items() if good}
    wanted = ("database is reachable", "mail is reachable", f"certificate of {HOST}", "no incident", "system healthy")
    wanted = (*wanted, "nothing fails", "status page", "routing is kept", "every instance serves")
    assert {f"production: {each}" for each in wanted} <= set(map(without_port, well))
    assert_untouched(small, ended, serving)


def test_routing_that_a_restart_would_not_bring_back_is_found(small: Small, serving: str) -> None:
    kept = Names("campus", "production", small.haproxy.state).share_map
    commit, text = small.commit(), kept.read_text()
    kept.write_text("# somebody has emptied it\n")
    try:
        ended = small.release(commit)
    finally:
        kept.write_text(text)
    assert "production: routing is kept" in facts_of(ended)
    assert_untouched(small, ended, serving)
