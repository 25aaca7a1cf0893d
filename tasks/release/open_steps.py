"""How a run is opened and closed: found, read, put on record; and its outcome and summary written, however it ends.

Apart from `steps` only because of its size; the same layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.estate import OpenEstate, Site, open_estate
from blocks.job import SERVICE_FILE, Job, kept_release
from blocks.journal import save_unsent
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.load import load_service
from tasks.common.service import ServiceFile
from tasks.common.steps import only_shown
from tasks.release.model import Artifact, Commit, Kind, Outcome, ReleaseRecord
from tasks.release.outcome import outcome_of
from tasks.release.report import summary
from tasks.release.request import ReleaseRequest, RollbackRequest


def open_release(request: ReleaseRequest) -> Job:
    """The commit is found, its service file read, and the release is on record.

    Raises:
        Refused: the estate, the service, the environment or the commit is unknown, or a file has mistakes.
    """
    estate = open_estate(request.estate)
    estate.site(request.service, request.environment)
    source = estate.source(request.service)
    commit = source.resolve(request.commit)
    text = source.read_file(commit, SERVICE_FILE)
    service = load_service(text, f"{SERVICE_FILE} of {commit.short}")
    if service.service != request.service:
        raise Refused(
            f"the service file is of {service.service!r}, not of {request.service!r}",
            on=f"{SERVICE_FILE} of {commit.short}",
            next_action="check the repository that the estate file names for this service",
        )
    record = _record(request, Kind.RELEASE, commit, service.promotion.strategy)
    _name_run(f"{request.service} {commit.short} to {request.environment}")
    return _open(estate, service, record, commit, text)


def open_rollback(request: RollbackRequest) -> Job:
    """The kept release is found, and the rollback is on record.

    Raises:
        Refused: nothing that is kept matches.
    """
    estate = open_estate(request.estate)
    site = estate.site(request.service, request.environment)
    wanted = request.to or _before_present(estate, site)
    service, kept = kept_release(estate, request.service, wanted)
    _require_success(estate, site, kept)
    commit = Commit(kept.commit, kept.subject, "", kept.started_at)
    record = replace(_record(request, Kind.ROLLBACK, commit, "blue-green"), release=kept.release, digest=kept.digest)
    job = _open(estate, service, record, commit, "")
    job.artifact = Artifact(str(kept.digest), 0, 0)
    job.journal.note("reason", "asked for", reason=request.reason or "none given")
    return job


def _require_success(estate: OpenEstate, site: Site, kept: ReleaseRecord) -> None:
    """A release that never succeeded here is nothing to go back to: it may be the very one that was turned back."""
    target = site.target
    good = [r.release for r in estate.ledger.succeeded(target.service, target.environment, estate.file.keep_releases)]
    if kept.release not in good:
        raise Refused(
            f"{kept.release[:7]} is not one of the last releases that succeeded here",
            on=str(target),
            next_action=f"choose one of: {', '.join(name[:7] for name in good) or 'none is kept'}",
        )


def _before_present(estate: OpenEstate, site: Site) -> str:
    present = {i.release for i in site.runtime.observe() if site.router.observe().weights.get(i.slot, 0) > 0}
    kept = estate.ledger.succeeded(site.target.service, site.target.environment, estate.file.keep_releases)
    for record in kept:
        # Beside an unfinished canary, the release before is the one that still has the rest of the traffic.
        if present != {record.release}:
            return record.release
    raise Refused(
        "there is no other release to go back to",
        on=str(site.target),
        next_action="'slipway releases list' shows what is kept",
    )


def _name_run(name: str) -> None:
    """The flow run is called by the commit, also where a branch or tag was asked for."""
    run_id = flow_run.get_id()
    if run_id is not None and flow_run.get_name() != name:
        with only_shown(), get_client(sync_client=True) as client:
            client.update_flow_run(UUID(run_id), name=name)


def _record(request: ReleaseRequest | RollbackRequest, kind: Kind, commit: Commit, strategy: str) -> ReleaseRecord:
    return ReleaseRecord(
        id=flow_run.get_id() or str(uuid4()),
        kind=kind,
        service=request.service,
        environment=request.environment,
        release=commit.sha[:12],
        commit=commit.sha,
        subject=commit.subject,
        strategy=strategy,
        requested_by=request.requested_by or "unknown",
        started_at=datetime.now(UTC),
    )


def _open(estate: OpenEstate, service: ServiceFile, record: ReleaseRecord, commit: Commit, text: str) -> Job:
    estate.ledger.prepare()
    estate.ledger.begin(record)
    job = Job(estate, service, record, commit)
    job.folder.mkdir(parents=True, exist_ok=True)
    if text:
        job.journal.note("service-file", SERVICE_FILE, text=text)
    get_run_logger().info("%s %s '%s' to %s", service.service, commit.short, commit.subject, record.environment)
    return job


@contextmanager
def recorded(job: Job) -> Iterator[None]:
    """The run's outcome is in the ledger and its summary in the Prefect UI, however the block ends (REL-13).

    Raises:
        Retryable: the block ended well, and the ledger did not take that.
    """
    here = job.environment
    try:
        yield
    except BaseException as error:
        outcome = outcome_of(error, moved=here in job.moved, turned_back=here in job.turned_back)
        _close(job, outcome, str(error) or type(error).__name__)
        raise
    problem = _close(job, Outcome.SUCCEEDED, None)
    if problem is not None:
        raise Retryable(
            f"{job.release[:7]} serves {here}, but the ledger did not take that: {problem.what}",
            on=problem.on,
            state="the release is in place; it is on record as running, and cannot be rolled back to yet",
            next_action="when the ledger answers, run the same release again: it moves nothing, and is put on record",
        )


def _close(job: Job, outcome: Outcome, error: str | None) -> SlipwayError | None:
    """Put the end on record and show it; return what the ledger said if it did not take everything."""
    log, problem = get_run_logger(), None
    message = job.redact(error) if error else None
    digest = job.artifact.digest if job.artifact else None
    try:
        job.journal.require_kept()
        job.estate.ledger.end(job.record.id, outcome, datetime.now(UTC), message, digest)
        record, evidence = job.estate.ledger.record(job.record.id), job.estate.ledger.evidence(job.record.id)
    except SlipwayError as refusal:
        problem = refusal
        job.journal.note("end", outcome, error=message, digest=digest)
        left = save_unsent(job.journal, job.estate.workspace)
        log.error("the ledger did not take everything; the rest is in %s: %s", left, problem)
        record, evidence = replace(job.record, outcome=outcome, error=message, digest=digest), job.journal.unsent
    with only_shown():
        create_markdown_artifact(
            key=f"{record.kind}-{record.service}-{record.environment}",
            markdown=summary(record, evidence),
            description=f"{record.service} {record.commit[:7]} to {record.environment}: {record.outcome}",
        )
    job.close()
    log.info("%s of %s to %s: %s", record.kind, record.commit[:7], record.environment, outcome)
    return problem
