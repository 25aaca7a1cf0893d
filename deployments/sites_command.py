"""The commands `slipway sites`: the lab's two sites."""

from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from deployments.terminal import err, out, var_folder

if TYPE_CHECKING:
    from deployments.lab.sites.sites import SiteLab

app = typer.Typer(no_args_is_help=True, help="The lab's two sites, on hosts of their own: up, down, show. As root.")

_NEXT = """\
With the Prefect server of 'slipway up', and this estate file:
  export SLIPWAY_ESTATE={estate}
  slipway switchover campus --to site-b --plan
  slipway switchover campus --to site-b
  slipway failback campus --to site-a --plan
  slipway drill start node-lost --dry-run"""


@app.command()
def up() -> None:
    """Start both sites: A takes writes, B follows it. What sites of before have kept is thrown away."""
    lab = _lab()
    lab.up(lambda text: err.print(text, style="dim"))
    _show(lab)


@app.command()
def down() -> None:
    """End both sites, and remove their network."""
    out.print("the sites are down" if _lab().down() else "nothing was running")


@app.command()
def show() -> None:
    """Show the hosts, the estate file that describes the sites, and what to try."""
    _show(_lab())


def _lab() -> "SiteLab":
    from deployments.lab.sites.sites import SiteLab

    return SiteLab(var_folder())


def _show(lab: "SiteLab") -> None:
    from deployments.lab.sites import estate

    table = Table("host", "namespace", "addresses", box=SIMPLE_HEAD)
    for host in lab.topology.hosts:
        addresses = ", ".join(leg.address for leg in lab.topology.legs[host])
        table.add_row(host, lab.topology.namespace(host), addresses)
    out.print(table)
    out.print(_NEXT.format(estate=estate.write(lab)), markup=False, soft_wrap=True)
