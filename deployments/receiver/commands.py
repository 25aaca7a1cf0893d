"""The commands about webhooks: `slipway receive` and `slipway deliveries`."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from deployments.shown import print_json
from deployments.terminal import Estate, Json, connect, out

LOCAL = "127.0.0.1"


def receive(
    estate: Estate = "",
    host: Annotated[str, typer.Option(help="address to listen on")] = LOCAL,
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 4280,
    inside_host: Annotated[str, typer.Option(help="address of the page and the figures; never a public one")] = LOCAL,
    inside_port: Annotated[int, typer.Option(min=1, max=65535, help="port of the page and the figures")] = 4281,
) -> None:
    """Take webhooks, and start the flows that the estate file wants for them."""
    connect(estate)
    from blocks.estate import open_estate
    from deployments.receiver.serve import serve

    serve(open_estate(), host, port, (inside_host, inside_port))


def deliveries(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="how many")] = 20,
    estate: Estate = "",
    as_json: Json = False,
) -> None:
    """List the latest deliveries of webhooks, newest first: what they have started, or why nothing."""
    connect(estate)
    from blocks.estate import open_estate

    ledger = open_estate().ledger
    ledger.prepare()
    found = ledger.deliveries.latest(limit)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    table = Table("delivery", "received", "from", "event", "about", "commit", "", "why", box=SIMPLE_HEAD)
    for each in found:
        event = each.event
        about = f"{event.repository} {event.ref}".strip()
        received = f"{each.received_at:%m-%d %H:%M:%S}"
        texts = (each.id[:8], received, each.source, event.name, about, event.commit[:7], each.status.value, each.why)
        table.add_row(*map(escape, texts))
    out.print(table if found else "nothing was delivered yet")
