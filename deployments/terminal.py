"""What every command of the command line shares: the terminal, common options, and the estate that it works on."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deployments.lab.lab import ROOT, Lab

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
Estate = Annotated[str, typer.Option("--estate", help="estate file; default: $SLIPWAY_ESTATE, else the lab's")]


def connect(estate: str = "") -> None:
    """Use the given estate, else the one of the environment, else the lab that runs here."""
    lab = Lab(var_folder())
    if lab.ports and "PREFECT_API_URL" not in os.environ:
        os.environ.update({name: value for name, value in lab.environment().items() if name not in os.environ})
    if estate:
        os.environ["SLIPWAY_ESTATE"] = str(Path(estate).absolute())


def var_folder() -> Path:
    """Return the folder where the lab keeps everything."""
    return Path(os.environ.get("SLIPWAY_VAR", ROOT / "var"))
