"""What every command of the command line shares: the terminal, common options, and the estate that it works on."""

import os
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deployments.lab.lab import ROOT, Lab

if TYPE_CHECKING:
    from blocks.estate import OpenEstate

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
As = Annotated[str, typer.Option("--as", help="who you are, for the record; nobody checks it")]
Estate = Annotated[str, typer.Option("--estate", help="estate file; default: $SLIPWAY_ESTATE, else the lab's")]


class Exit(IntEnum):
    """What a script can tell from how `slipway` ended."""

    DONE = 0
    FAILED = 1
    """The run failed before the environment was changed."""
    REFUSED = 2
    """The request cannot be carried out as it is (also: wrong options)."""
    ROLLED_BACK = 3
    """The environment was changed, and the former release serves again."""
    UNSAFE = 4
    """A person must look now."""
    NOT_REACHABLE = 5
    """Something did not answer; the same command may succeed later."""
    DIFFERS = 6
    """`apply --plan`: the server is not as the estate wants it."""


def connect(estate: str = "") -> None:
    """Use the given estate, else the one of the environment, else the lab that runs here."""
    lab = Lab(var_folder())
    if lab.ports and "PREFECT_API_URL" not in os.environ:
        os.environ.update({name: value for name, value in lab.environment().items() if name not in os.environ})
    if estate:
        os.environ["SLIPWAY_ESTATE"] = str(Path(estate).absolute())


def connected(estate: str) -> "OpenEstate":
    """Return the estate that is used from now on."""
    connect(estate)
    from blocks.estate import open_estate

    return open_estate()


def estate_path() -> str:
    """Return the estate file that is used, for a worker, which need not have this shell's variables; '' for none."""
    return os.environ.get("SLIPWAY_ESTATE", "")


def who() -> str:
    """Return the system's user, for the record; behind sudo, who has called it."""
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or os.environ.get("LOGNAME") or "unknown"


def var_folder() -> Path:
    """Return the folder where the lab keeps everything."""
    return Path(os.environ.get("SLIPWAY_VAR", ROOT / "var"))
