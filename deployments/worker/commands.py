"""The command `slipway worker`."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from deployments.terminal import Estate, connect


def worker(
    estate: Estate = "",
    name: Annotated[str, typer.Option(help="as the Prefect UI shows it; default: one that Prefect makes up")] = "",
    folder: Annotated[
        Path | None, typer.Option(help="private folder of this worker; default: $RUNTIME_DIRECTORY, else a new one")
    ] = None,
) -> None:
    """Run the flows that the Prefect server wants run, each in a process of its own that starts fast, until ended."""
    connect(estate)
    given = folder or os.environ.get("RUNTIME_DIRECTORY") or tempfile.mkdtemp(prefix="slipway-worker-")
    # In its place: what stays is small, and signals reach it.
    os.execv(sys.executable, [sys.executable, "-m", "deployments.worker.service", str(given), name])  # noqa: S606
