"""Folders of runs that have ended, and left them behind."""

import shutil
from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from tasks.common.errors import Refused
from tasks.common.steps import TRANSIENT
from tasks.release.model import Outcome


@task(name="sweep", task_run_name="sweep the workspace", **TRANSIENT)
def sweep(estate: OpenEstate) -> int:
    """No folder of a run that has ended is left; returns how many there were. *Idempotent:* yes.

    A run that was killed leaves its check-out and its artefact. One that still runs, or of which the ledger knows
    nothing, keeps them.

    Raises:
        Retryable: the ledger does not answer.
    """
    runs = estate.workspace / "runs"
    left = [folder for folder in sorted(runs.iterdir()) if _has_ended(estate, folder)] if runs.exists() else []
    for folder in left:
        shutil.rmtree(folder)
    get_run_logger().info("%d folders of runs that have ended were removed", len(left))
    return len(left)


def _has_ended(estate: OpenEstate, folder: Path) -> bool:
    try:
        return estate.ledger.record(folder.name).outcome is not Outcome.RUNNING
    except Refused:
        return False
