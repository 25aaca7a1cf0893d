"""How a run is opened and closed: found, read, put on record; and its outcome and summary written, however it ends.

Apart from `steps` only because of its size; the same layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.estate import OpenEstate, Site, open_estate
from blocks.job import SERVICE_FILE, Job, kept_release
from blocks.journal import save_unsent
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.lease import scope_of
from tasks.common.load import load_service
from tasks.common.service import ServiceFile
from tasks.common.steps import only_shown
from tasks.release.announce_steps import announce_end
from tasks.release.model import Artifact, Commit, Evidence, Kind, Outcome, ReleaseRecord
from tasks.release.outcome import built, outcome_of
from tasks.release.report import summary
from tasks.release.request import ReleaseRequest, RollbackRequest


def open_release(request: ReleaseRequest) -> Job:
    """The commit is found, its service file read, and the release is on record.

    A run that comes back from a suspension is about the commit that it began with, wherever its branch is by now.

    Raises:
        Refused: the estate, the service, the environment or the commit is unknown, a file has mistakes, or the run was
            ended while it was suspended.
    """
    estate = open_estate(request.estate)
    estate.site(request.service, request.environment)
    estate.ledger.prepare()
    begun = _begun(estate)
    source = estate.source(request.service)
    commit = source.resolve(begun.commit if begun is not None else request.commit)
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
    if begun is not None:
        return reopen(estate, begun)
    return _open(estate, service, record, commit, text)


def reopen(estate: OpenEstate, record: ReleaseRecord) -> Job:
    """Return the job of a run that is on record already, with everything that it has recorded so far.

    Raises:
        Refused: the record does not say what it was about: it broke off before its service file was kept.
    """
    past = estate.ledger.evidence(record.id)
    commit = Commit(record.commit, record.subject, "", record.started_at)
    return Job(estate, _service(estate, record, past), record, commit, built(past, record.digest), past)


def _service(estate: OpenEstate, record: ReleaseRecord, past: Sequence[Evidence]) -> ServiceFile:
    if record.kind is Kind.ROLLBACK:
        return kept_release(estate, record.service, record.release)[0]
    for item in past:
        if (item.kind, item.name) == ("service-file", SERVICE_FILE):
            return load_service(str(item.facts["text"]), f"{SERVICE_FILE} of {record.commit[:7]}")
    raise Refused(
        "its record has no service file",
        on=f"run {record.id[:8]} of {record.service} {record.commit[:7]}",
        next_action="nothing was changed by it; release the commit again",
    )


def _begun(estate: OpenEstate) -> ReleaseRecord | None:
    """Return this run's record if it has one: it was suspended, and is resumed.

    Raises:
        Refused: somebody has ended it meanwhile.
    """
    run_id = flow_run.get_id()
    if run_id is None or not estate.ledger.evidence(run_id):
        return None
    record = estate.ledger.record(run_id)
    if record.outcome is not Outcome.RUNNING:
        raise Refused(
            f"this run was ended while it was suspended: {record.outcome}",
            on=f"{record.service} {record.commit[:7]} to {record.environment}",
            state=(record.error or "see its record").splitlines()[0],
            next_action="'slipway status' shows what serves; release again if it is still wanted",
        )
    return record


def open_rollback(request: RollbackRequest) -> Job:
    """The kept release is found, and the rollback is on record.

    Raises:
        Refused: nothing that is kept matches.
    """
    estate = open_estate(request.estate)
    site = estate.site(request.service, request.environment)
    if not request.to:
        _require_nobody_else(estate, site)
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


def _require_nobody_else(estate: OpenEstate, site: Site) -> None:
    """No other run is at work here without traffic: 'the one before' would be one too far, as stable serves alone."""
    target, run_id = site.target, flow_run.get_id()
    lease = estate.ledger.leases.find(scope_of(target.service, target.environment))
    serving = [slot for slot, weight in site.router.observe().weights.items() if weight > 0]
    if lease is not None and lease.live and lease.holder != run_id and len(serving) == 1:
        raise Refused(
            f"run {lease.holder[:8]} is at work here and has no traffic yet, so it is not clear what to go back to",
            on=str(target),
            next_action="to stop that run, cancel it in the Prefect UI: what serves goes on; to go back further, name "
            "the release ('slipway releases list' shows what is kept)",
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
    redact = estate.context.secrets.redact
    record = replace(record, subject=redact(record.subject), requested_by=redact(record.requested_by))
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

    A run that is suspended has not ended: its leases are kept for it, and its record stays open.

    Raises:
        Retryable: the block ended well, and the ledger did not take that.
    """
    here = job.environment
    try:
        yield
    except Pause:
        try:
            job.suspend()
        except SlipwayError as refusal:
            get_run_logger().warning("others may go before this run until it is resumed: %s", refusal.what)
        raise
    except BaseException as error:
        outcome = outcome_of(error, moved=here in job.moved, turned_back=here in job.turned_back)
        end_as(job, outcome, str(error) or type(error).__name__)
        job.close()
        raise
    problem = end_as(job, Outcome.SUCCEEDED, None)
    job.close()
    if problem is not None:
        raise Retryable(
            f"{job.release[:7]} serves {here}, but the ledger did not take that: {problem.what}",
            on=problem.on,
            state="the release is in place; it is on record as running, and cannot be rolled back to yet",
            next_action="when the ledger answers, run the same release again: it moves nothing, and is put on record",
        )


def end_as(job: Job, outcome: Outcome, error: str | None) -> SlipwayError | None:
    """The end is on record and shown; returns what the ledger said if it did not take everything.

    A run that another one has ended meanwhile is left as it is. *Idempotent:* yes.
    """
    log, problem = get_run_logger(), None
    message = job.redact(error) if error else None
    digest = job.artifact.digest if job.artifact else None
    try:
        job.journal.require_kept()
        found = job.estate.ledger.record(job.record.id)
        if found.outcome is not Outcome.RUNNING:
            log.warning("another run has put the end on record already: %s", found.outcome)
            return None
        job.estate.ledger.end(job.record.id, outcome, datetime.now(UTC), message, digest)
        announce_end(job.estate, job.estate.ledger.record(job.record.id), job.journal)
        record, evidence = job.estate.ledger.record(job.record.id), job.estate.ledger.evidence(job.record.id)
    except SlipwayError as refusal:
        problem = refusal
        job.journal.keep("end", outcome, error=message, digest=digest)
        log.error("the ledger did not take everything; %s: %s", _kept(job), problem)
        record, evidence = replace(job.record, outcome=outcome, error=message, digest=digest), job.journal.unsent
        announce_end(job.estate, record, job.journal)
    with only_shown():
        create_markdown_artifact(
            key=f"{record.kind}-{record.service}-{record.environment}",
            markdown=summary(record, evidence),
            description=f"{record.service} {record.commit[:7]} to {record.environment}: {record.outcome}",
        )
    log.info("%s of %s to %s: %s", record.kind, record.commit[:7], record.environment, outcome)
    return problem


def _kept(job: Job) -> str:
    """What the ledger has not taken is in a file, or at least in the run's log; returns where."""
    try:
        return f"the rest is in {save_unsent(job.journal, job.estate.workspace)}"
    except OSError as problem:
        lines = "; ".join(f"{item.kind} {item.name}: {item.facts}" for item in job.journal.unsent)
        return f"the rest cannot be kept in a file ({problem.strerror}), and stands here only: {lines}"
