"""The @task functions of monitoring: thin, and the only module here that imports Prefect."""

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from blocks.job import kept_release
from tasks.common.errors import Refused, Retryable
from tasks.common.model import HttpCheck
from tasks.common.steps import ONCE, only_shown, transient
from tasks.monitor.report import Result, failures, report
from tasks.monitor.request import MonitorRequest

_AGAIN = {**ONCE, "retries": 2, "retry_delay_seconds": 5, "retry_condition_fn": transient}
"""One lost packet wakes nobody: only what fails three times is told."""


@task(name="look", task_run_name="look at {request.service} in {request.environment}: {request.checks}", **_AGAIN)
def look(estate: OpenEstate, request: MonitorRequest) -> None:
    """Every request that the serving release's service file names got the right answer. *Idempotent:* as those are.

    Raises:
        Refused: the estate has no such service or environment, or nothing was ever released there.
        Retryable: some did not; lists them.
    """
    site = estate.site(request.service, request.environment)
    release, checks = _checks(estate, request)
    url = site.environment.url
    results: Sequence[Result] = estate.prober.probe(url, checks)
    with only_shown():
        create_markdown_artifact(
            key=f"monitor-{request.service}-{request.environment}",
            markdown=estate.context.secrets.redact(report(str(site.target), url, release, results)),
            description=f"{request.checks}: {len(failures(results))} of {len(results)} failed",
        )
    get_run_logger().info("%d of %d requests got the right answer", len(results) - len(failures(results)), len(results))
    if failures(results):
        raise Retryable(
            f"{len(failures(results))} of {len(results)} requests failed",
            on=f"{site.target} at {url}",
            state=f"release {release[:7]} serves there; nothing was changed",
            next_action="'slipway status' shows what serves; 'slipway rollback' returns to the release before",
            facts=failures(results),
        )


def _checks(estate: OpenEstate, request: MonitorRequest) -> tuple[str, list[HttpCheck]]:
    """Return the release that serves, and what its service file says must work."""
    records = estate.ledger.succeeded(request.service, request.environment, 1)
    if not records:
        raise Refused(
            "nothing was ever released there",
            on=f"{request.service} in {request.environment}",
            next_action="release it first; what is looked at stands in its service file",
        )
    service, _ = kept_release(estate, request.service, records[0].release)
    smoke, features = service.smoke, service.validation.critical_features
    return records[0].release, {"smoke": smoke, "features": features, "all": [*smoke, *features]}[request.checks]
