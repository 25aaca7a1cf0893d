"""Build, test and scan a commit that is trusted with nothing."""

from prefect import flow
from prefect.runtime import flow_run

from tasks.release.check_steps import checking
from tasks.release.request import CheckRequest
from tasks.release.steps import build, check_out, fetch_history, log_lines, run_tests
from tasks.scan.judge import recorded_findings
from tasks.scan.steps import ScanTrees, scan


def _run_name() -> str:
    request = CheckRequest.model_validate(flow_run.parameters["request"])
    return f"{request.service} {request.commit[:7]} checked" + f" for {request.pull_request}" * bool(
        request.pull_request
    )


@flow(name="check", flow_run_name=_run_name)
def check(request: CheckRequest) -> None:
    """Build, test and scan a commit, as a guest without secrets: nothing is published, deployed or put on record.

    The scans see a tree that nothing of the commit has touched, and are those of the default branch.
    """
    with checking(request) as work:
        tree = check_out(work)
        build(work, tree)
        run_tests(work, tree)
        trees = ScanTrees(check_out(work), lambda: fetch_history(work))
        before, accepted = work.evidence_of_previous(), work.service.accepted_findings
        known = recorded_findings(before) if before is not None else None
        scan(work.estate.scanner, trees, work.service.scan, accepted, known, work.journal, log_lines())
