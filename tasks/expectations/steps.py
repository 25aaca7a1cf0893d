"""The @task functions of expectations: thin, and the only module here that imports Prefect."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact

from blocks.estate import OpenEstate
from blocks.expectations.running import run_suites
from blocks.files import system_errors
from tasks.common.backups import Rung
from tasks.common.expectations import Suite
from tasks.common.load import load_suites
from tasks.common.steps import ONCE, only_shown
from tasks.expectations.judge import artifact, judge

Evaluate = Callable[[str, Path], Rung]
"""Evaluates suites on the database of an address, with a private folder; returns the rung."""


@task(name="read expectations", task_run_name="read the expectations of {plan}", **ONCE)
def read_expectations(estate: OpenEstate, plan: str) -> Evaluate | None:
    """Return what evaluates the suites of a plan; None where it names none.

    They are read before anything is restored: mistakes in them say nothing against a backup.

    Raises:
        Refused: the estate has no such plan, the folder holds no suite, or some have mistakes; all are listed.
    """
    how = estate.backup_plan(plan).verification
    if how is None or how.expectations is None:
        return None
    folder = estate.context.resolve(how.expectations)
    with system_errors("the suites of expectations cannot be read", folder):
        files = {str(path): path.read_text("utf-8", errors="replace") for path in sorted(folder.glob("*.yaml"))}
    return partial(_evaluate, estate, plan, load_suites(files))


def _evaluate(estate: OpenEstate, plan: str, suites: Mapping[str, Suite], address: str, folder: Path) -> Rung:
    """Return the rung; which rows are meant is an artifact."""
    redact = estate.context.secrets.redact
    report = run_suites(suites, address, folder, redact)
    rung = judge(report)
    with only_shown():
        create_markdown_artifact(
            key=f"expectations-{plan}", markdown=redact(artifact(report, rung)), description=redact(rung.said)
        )
    return rung
