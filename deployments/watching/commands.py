"""The commands `slipway watch` and `slipway vantage`."""

import signal
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.shown import print_json
from deployments.terminal import Estate, Exit, Json, connect, err, out
from tasks.common.errors import Refused

if TYPE_CHECKING:
    from deployments.watching.watch import Watcher
    from tasks.failover.detect import Change, Look

_LOCAL = "127.0.0.1"


def watch(
    once: Annotated[bool, typer.Option("--once", help="look once, and start nothing")] = False,
    estate: Estate = "",
    as_json: Json = False,
) -> None:
    """Look at the sites that serve by their vantage points, and start the failover of one that is down."""
    connect(estate)
    if once:
        _look_once(_watchers(starts=False), as_json)
        return
    from deployments.watching.watch import keep_watching

    watchers = _watchers(starts=True)

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    keep_watching(watchers, stop)


def vantage(
    estate: Estate = "",
    host: Annotated[str, typer.Option(help="address to listen on; only the watch need reach it")] = _LOCAL,
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 4290,
) -> None:
    """Be a vantage point: look at the sites from this machine when a watch asks."""
    connect(estate)
    from blocks.estate import open_estate
    from deployments.watching.vantage import serve

    serve(open_estate().file, host, port)


def _watchers(*, starts: bool) -> "list[Watcher]":
    from blocks.estate import open_estate
    from blocks.failovers import open_dns
    from deployments.watching.telling import announce_change
    from deployments.watching.watch import Watcher

    opened = open_estate()
    file, redact = opened.file, opened.context.secrets.redact
    watched = {name: plan for name, plan in file.failovers.items() if plan.watch is not None}
    if not watched:
        raise Refused(
            "no failover of the estate is watched",
            on=f"the estate {file.estate}",
            next_action="describe 'watch' under a failover of the estate file",
        )

    def tell(failover: str, change: "Change") -> None:
        if starts:
            announce_change(file.estate, failover, change, redact)

    return [
        Watcher(
            name,
            plan,
            {region: file.regions[region].role for region in plan.sites},
            open_dns(opened, name),
            tell,
            lambda text: err.print(redact(text), markup=False, soft_wrap=True),
        )
        for name, plan in watched.items()
    ]


def _look_once(watchers: "list[Watcher]", as_json: bool) -> None:
    found = {each.name: (each.round(), each.serving) for each in watchers}
    if as_json:
        shown = {
            name: {"site": region, "points": {at: asdict(look) if look else None for at, look in looks.items()}}
            for name, (looks, region) in found.items()
        }
        print_json(shown)
    else:
        for name, (looks, region) in found.items():
            out.print(f"{name}: {region} serves, as the names have it", markup=False)
            for at, look in looks.items():
                out.print(f"  {at}: {_said(look)}", markup=False)
    looks_of_all = [look for looks, _ in found.values() for look in looks.values()]
    if not all(look is not None and look.site and look.database for look in looks_of_all):
        raise typer.Exit(Exit.FAILED)


def _said(look: "Look | None") -> str:
    if look is None:
        return "not heard of"
    if not look.control and not look.site:
        return "is cut off: it reaches nothing at all"
    if not look.site:
        return "does not reach the site"
    return "the site answers, and its database takes writes" if look.database else "the site answers, its database not"
