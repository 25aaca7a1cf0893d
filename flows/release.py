"""Take a commit to production."""

from prefect import flow
from prefect.runtime import flow_run

from blocks.job import Job
from flows.checks import release_checks
from flows.gates import open_gating
from flows.rollout import AT_ONCE, ask, end_abandoned, open_rollout, roll_out, validate, verify
from tasks.gate.steps import require_gates
from tasks.migration.release_steps import require_ready
from tasks.preflight.steps import preflight
from tasks.release.lease_steps import take_leases
from tasks.release.open_steps import open_release, recorded
from tasks.release.request import ReleaseRequest
from tasks.release.steps import (
    build,
    check_out,
    fetch_history,
    finish,
    log_lines,
    prune,
    publish,
    run_tests,
)
from tasks.rollout.turn_back_steps import turned_back_on_failure
from tasks.scan.judge import recorded_findings
from tasks.scan.model import Finding
from tasks.scan.steps import ScanTrees, scan


def _run_name() -> str:
    request = ReleaseRequest.model_validate(flow_run.parameters["request"])
    return f"{request.service} {request.commit[:7]} to {request.environment}"


@flow(name="release", flow_run_name=_run_name)
def release(request: ReleaseRequest) -> None:
    """Take a commit to production: build, test, scan, publish, stage, prove, ask, promote, validate, record.

    A step that fails stops the run before anything later is touched; once traffic has moved, any failure returns it to
    the former release. Running it again, also after a crash, carries on from what is observed. A run that waits for an
    answer is suspended, and comes back to where it was: what it has finished is not done again.
    """
    job = open_release(request)
    with recorded(job):
        take_leases(job)
        end_abandoned(job)
        if not job.has("prepare"):
            prepare(job)
        for environment in job.path[:-1]:
            if not job.has(f"rehearse in {environment}"):
                rehearse(job, environment)
        promote(job)
        prune(job)


def prepare(job: Job) -> None:
    """The commit is built, tested, scanned and published; no environment was touched."""
    preflight(job, release_checks(job))
    tree = check_out(job)
    artifact = build(job, tree)
    run_tests(job, tree)
    trees, accepted = ScanTrees(tree, lambda: fetch_history(job)), job.service.accepted_findings
    scan(job.estate.scanner, trees, job.service.scan, accepted, known_findings(job), job.journal, log_lines())
    publish(job, artifact)
    finish(job, "prepare")


def known_findings(job: Job) -> tuple[Finding, ...] | None:
    """Return what the scans of the release before have found; None where there was no release before."""
    evidence = job.evidence_of_previous()
    return recorded_findings(evidence) if evidence is not None else None


def rehearse(job: Job, environment: str) -> None:
    """The release serves an environment on the way, and has proven there that it works."""
    require_ready(job, environment)
    rehearsal = open_rollout(job, environment, AT_ONCE)
    with turned_back_on_failure(job, rehearsal):
        roll_out(job, rehearsal)
        verify(job, rehearsal)
    finish(job, f"rehearse in {environment}")


def promote(job: Job) -> None:
    """The release serves its last environment, and has held there."""
    promotion = open_rollout(job, job.environment, job.service.promotion)
    with turned_back_on_failure(job, promotion):
        require_gates(open_gating(job, promotion))
        ask(job, promotion, None)
        roll_out(job, promotion)
        validate(job, promotion)
