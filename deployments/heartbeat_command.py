"""The command `slipway heartbeat`."""

import signal
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.terminal import err

if TYPE_CHECKING:
    from blocks.databases.heartbeat import Alarm


def heartbeat(
    addresses: Annotated[
        list[str], typer.Argument(help="references to the addresses of databases: env:NAME, file:PATH ...")
    ],
    estate: Annotated[
        str, typer.Option("--estate", help="estate file whose channels are told where WAL piles up; none: only the log")
    ] = "",
) -> None:
    """Write a row a second into databases that are backed up, and look whether their servers get rid of their WAL."""
    from blocks import open_driver
    from blocks.context import Context
    from blocks.databases.heartbeat import keep_beating
    from tasks.common.model import DriverSpec
    from tasks.common.secrets import check_reference

    for address in addresses:
        try:
            check_reference(address)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    context = Context(base=Path.cwd())
    databases = {}
    for address in dict.fromkeys(addresses):
        databases[address] = open_driver(
            "database", DriverSpec.model_validate({"driver": "postgresql", "address": address}), context
        )
    alarm = _alarm(estate) if estate else lambda name, found: None
    keep_beating(databases, stop, lambda name, text: err.print(f"{name}: {text}", markup=False), alarm=alarm)


def _alarm(estate: str) -> "Alarm":
    from blocks.estate import open_estate
    from tasks.notify.messages import wal_held, wal_let_go
    from tasks.notify.steps import WITHIN_S, Sending

    opened = open_estate(estate)

    def tell(name: str, found: Sequence[str]) -> None:
        now, of = datetime.now(UTC), opened.file.estate
        message = wal_held(name, of, now, found) if found else wal_let_go(name, of, now)
        wanted = [channel for channel in opened.notifiers if channel.wants(message)]
        for delivery in Sending(message, wanted, WITHIN_S).deliveries():
            if not delivery.sent:
                err.print(f"{delivery.channel} was not told: {delivery.problem}", markup=False)

    return tell
