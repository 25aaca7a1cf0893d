"""Take a commit to production."""

from prefect import flow
from prefect.runtime import flow_run

from flows.rollout import AT_ONCE, open_rollout, roll_out, validate, verify
from tasks.release.open_steps import open_release, recorded
from tasks.release.request import ReleaseRequest
from tasks.release.steps import (
    build,
    check_out,
    log_lines,
    preflight,
    prune,
    publish,
    run_tests,
)
from tasks.rollout.steps import turned_back_on_failure
from tasks.scan.steps import scan


def _run_name() -> str:
    request = ReleaseRequest.model_validate(flow_run.parameters["request"])
    return f"{request.service} {request.commit[:7]} to {request.environment}"


@flow(name="release", flow_run_name=_run_name)
def release(request: ReleaseRequest) -> None:
    """Take a commit to production: build, test, scan, publish, stage, prove, promote, validate, record.

    A step that fails stops the run before anything later is touched; once traffic has moved, any failure returns it to
    the former release. Running it again, also after a crash, carries on from what is observed.
    """
    job = open_release(request)
    with recorded(job):
        preflight(job)
        tree = check_out(job)
        artifact = build(job, tree)
        run_tests(job, tree)
        scan(job.estate.scanner, tree, job.service.scan, job.journal, log_lines())
        publish(job, artifact)

        for environment in job.path[:-1]:
            rehearsal = open_rollout(job, environment, AT_ONCE)
            with turned_back_on_failure(job, rehearsal):
                roll_out(job, rehearsal)
                verify(job, rehearsal, tree)

        promotion = open_rollout(job, job.environment, job.service.promotion)
        with turned_back_on_failure(job, promotion):
            roll_out(job, promotion)
            validate(job, promotion)
        prune(job)
