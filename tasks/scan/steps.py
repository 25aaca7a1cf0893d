"""The @task functions of scanning: thin, and the only module here that imports Prefect."""

from collections.abc import Callable, Sequence
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.journal import Journal
from tasks.common.errors import Refused
from tasks.common.service import Scan
from tasks.common.steps import ONCE, only_shown
from tasks.scan.judge import blocking, findings_table
from tasks.scan.model import ScanReport
from tasks.scan.ports import Scanner


def scan(scanner: Scanner, tree: Path, specs: Sequence[Scan], journal: Journal, on_line: Callable[[str], None]) -> None:
    """Every tool of the service file ran to its end and found nothing that blocks (SCN-1).

    Raises:
        Refused: as `scan_tree` says, for the first tool that did not pass.
    """
    for spec in specs:
        scan_tree(scanner, tree, spec, journal, on_line)


@task(name="scan", task_run_name="scan: {spec.tool}", **ONCE)
def scan_tree(scanner: Scanner, tree: Path, spec: Scan, journal: Journal, on_line: Callable[[str], None]) -> ScanReport:
    """The tool ran to its end and found nothing that blocks. *Idempotent:* yes.

    Raises:
        Refused: blocking findings, or no answer that can be trusted.
    """
    with journal.timed("scan", spec.tool) as facts:
        report = scanner.scan(tree, spec, env={}, on_line=on_line)
        blockers = blocking(report, spec.fail_on)
        facts.update(findings=len(report.findings), blocking=len(blockers), fail_on=list(spec.fail_on))
        if report.findings:
            with only_shown():
                create_markdown_artifact(key=f"scan-{spec.tool}", markdown=findings_table(report.findings))
        if blockers:
            first = blockers[0]
            raise Refused(
                f"{spec.tool} found {len(blockers)} that block",
                on=f"{first.path}:{first.line}: {first.rule}: {first.message}",
                state="nothing was published or deployed",
                next_action="mend the findings in the run's scan artifact, and release the new commit",
            )
    get_run_logger().info("%s: %d findings, none of them blocks", spec.tool, len(report.findings))
    return report
