"""What is installed, reachable and well configured, and how to mend what is not."""

import base64
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial

import httpx

from blocks.estate import OpenEstate, open_estate
from blocks.postgresql import find_binaries
from blocks.server import PrefectServer
from deployments.applying import survey
from flows.backup_checks import backup_looks
from flows.checks import own_checks
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.schedules import DEPLOYMENT
from tasks.preflight.looks import examine as examine_all
from tasks.preflight.model import Finding
from tasks.preflight.place_steps import place_looks
from tasks.release.ports import Source

_PROGRAMS = {
    "git": "apt-get install git",
    "haproxy": "apt-get install haproxy",
    "prometheus": "apt-get install prometheus",
}


def examine() -> list[Finding]:
    """Return everything that was looked at, in the order in which one would mend it. Nothing is changed."""
    findings = [_python(), *map(_program, _PROGRAMS), _look("PostgreSQL's programs", find_binaries)]
    findings += _examine_prefect()
    try:
        estate = open_estate()
    except SlipwayError as error:
        return [*findings, _ill("estate file", error)]
    findings.append(Finding("estate file", True, f"estate {estate.file.estate}"))
    if findings[-2].name == "worker":
        findings.append(_look("deployments", partial(_deployments, estate)))
    return findings + _examine_estate(estate)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", sys.version_info >= (3, 11), version, "use Python 3.11 or newer: make install")


def _program(name: str) -> Finding:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return Finding(name, found is not None, found or "not on the PATH", _PROGRAMS[name])


def _examine_estate(estate: OpenEstate) -> list[Finding]:
    findings = [_look("ledger", estate.ledger.prepare), _look("artefact store", estate.store.digests)]
    for service in estate.file.services:
        findings.append(_look(f"{service}: repository", partial(_head, estate.source(service))))
    looks = [*place_looks(estate, own_checks(estate)), *backup_looks(estate)]
    return findings + [each for looked in examine_all(looks) for each in looked.findings]


def _head(source: Source) -> str:
    return f"HEAD is {source.resolve('HEAD').short}"


def _examine_prefect() -> list[Finding]:
    url = os.environ.get("PREFECT_API_URL", "")
    if not url:
        return [Finding("Prefect server", False, "PREFECT_API_URL is not set", "'slipway up' starts one for the lab")]
    findings = [_look("Prefect server", partial(_get, url, "/health"))]
    if findings[0].well:
        findings.append(_look("worker", partial(_worker, url)))
    return findings


def _worker(url: str) -> str:
    answer = httpx.post(f"{url}/work_pools/{DEPLOYMENT}/workers/filter", json={}, timeout=5, headers=_credentials())
    online = (
        [worker["name"] for worker in answer.json() if worker.get("status") == "ONLINE"] if answer.is_success else []
    )
    if not online:
        raise Refused(
            "no worker is online",
            on=f"work pool {DEPLOYMENT}",
            next_action="start one: 'slipway worker' (the lab: 'slipway up')",
        )
    return ", ".join(online)


def _get(url: str, path: str) -> str:
    try:
        answer = httpx.get(url + path, timeout=5, headers=_credentials())
    except httpx.HTTPError as error:
        raise Retryable(
            f"no answer: {type(error).__name__}", on=url, next_action="start it: 'slipway up', or check PREFECT_API_URL"
        ) from error
    if not answer.is_success:
        raise Refused(
            f"answered {answer.status_code}",
            on=url + path,
            next_action="check PREFECT_API_URL and PREFECT_API_AUTH_STRING",
        )
    return url


def _credentials() -> dict[str, str]:
    """Return the header by which Prefect's own client shows its user and password, if the server wants them."""
    secret = os.environ.get("PREFECT_API_AUTH_STRING", "")
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"} if secret else {}


def _deployments(estate: OpenEstate) -> str:
    different = survey(estate.file, PrefectServer()).changes
    if different:
        raise Refused(
            f"{len(different)} things on the Prefect server are not as the estate wants them, first: {different[0]}",
            on="the Prefect server",
            next_action="'slipway apply --plan' lists them, 'slipway apply' mends them",
        )
    return "as the estate wants them"


def _look(name: str, ask: Callable[[], object]) -> Finding:
    try:
        found = ask()
    except SlipwayError as error:
        return _ill(name, error)
    return Finding(name, True, found if isinstance(found, str) else "answers")


def _ill(name: str, error: SlipwayError) -> Finding:
    return Finding(name, False, error.what, error.next_action)
