"""The commands `slipway sites`: the lab's two sites."""

from typing import TYPE_CHECKING

import typer
import yaml
from rich.box import SIMPLE_HEAD
from rich.table import Table

from deployments.terminal import err, out, var_folder

if TYPE_CHECKING:
    from deployments.lab.sites.sites import SiteLab

app = typer.Typer(no_args_is_help=True, help="The lab's two sites, on hosts of their own: up, down, show. As root.")


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
    """Show the hosts, and what a failover in an estate file says of these sites."""
    _show(_lab())


def _lab() -> "SiteLab":
    from deployments.lab.sites.sites import SiteLab

    return SiteLab(var_folder())


def _show(lab: "SiteLab") -> None:
    from deployments.lab.sites import estate
    from deployments.lab.sites.topology import MEMBERS

    table = Table("host", "namespace", "addresses", box=SIMPLE_HEAD)
    for host in lab.topology.hosts:
        addresses = ", ".join(leg.address for leg in lab.topology.legs[host])
        table.add_row(host, lab.topology.namespace(host), addresses)
    out.print(table)
    found = {"sites": {f"site-{name}": estate.site(lab, name) for name in MEMBERS}, "dns": estate.dns(lab)}
    out.print(yaml.safe_dump(found, sort_keys=False), markup=False, soft_wrap=True)
