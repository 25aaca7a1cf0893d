"""`slipway receive`: the receiver as a server."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from threading import Thread

import uvicorn
from fastapi import FastAPI

from blocks.estate import OpenEstate
from deployments.receiver.alarms import Alarms
from deployments.receiver.app import Receiver, make_app
from deployments.receiver.dispatcher import Dispatcher
from deployments.receiver.finding import find_run
from deployments.receiver.inside import make_inside
from deployments.receiver.limits import Limits
from deployments.receiver.reporter import Reporter
from deployments.receiver.seen import Seen
from tasks.backup.status import PlanStatus, look
from tasks.common.errors import Refused
from tasks.common.run_steps import page_of, start_run, states_of
from tasks.notify.model import Delivery, Message
from tasks.notify.ports import Channel
from tasks.notify.steps import WITHIN_S, Sending

_ENDS_WITHIN_S = 10


def serve(estate: OpenEstate, host: str, port: int, inside: tuple[str, int]) -> None:
    """Take deliveries until the process is told to end.

    Args:
        estate: names the sources.
        host: address to listen on for forges.
        port: for forges.
        inside: address and port for the team: recent deliveries, figures.

    Raises:
        Refused: the estate names neither webhooks nor channels nor backups, a secret or token of theirs is missing, the
            address of a forge's API is not encrypted, or the port for the team is taken.
        Retryable: the ledger does not answer.
    """
    sources, secrets = estate.file.webhooks, estate.context.secrets
    if not sources and not estate.notifiers and not estate.file.backups:
        raise Refused(
            "there is nobody to receive webhooks from, nobody to tell of alarms, and no backup to show figures of",
            on=f"the estate {estate.file.estate}",
            next_action="add a source under webhooks of the estate file, or a channel under notifications, or a plan "
            "under backups",
        )
    # All at once, before the first delivery: a source whose secret is missing would refuse everything.
    for source in sources.values():
        for reference in source.secrets:
            secrets.resolve(reference)
    estate.ledger.prepare()
    deliveries = estate.ledger.deliveries
    seen = Seen()
    dispatcher = Dispatcher(deliveries, _start, secrets.redact, seen)
    receiver = Receiver(sources, secrets, deliveries, dispatcher.wake)
    reporter = Reporter(deliveries, estate.ledger.leases, estate.forges(), states_of, page_of, secrets.redact, seen)
    app = make_app(receiver, deliveries, dispatcher, Limits(sources), seen)
    alarms = Alarms(estate.file, estate.notifiers, find_run, _send, seen)
    plans = partial(_plans, estate)
    with _beside(make_inside(deliveries, dispatcher, alarms, seen, inside[0], plans), *inside):
        reporter.start()
        try:
            uvicorn.Server(_config(app, host, port)).run()
        finally:
            reporter.stop()


def _config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app, host=host, port=port, log_level="info", access_log=False, timeout_graceful_shutdown=_ENDS_WITHIN_S
    )


@contextmanager
def _beside(app: FastAPI, host: str, port: int) -> Iterator[None]:
    """The application is served by a thread within the block.

    Raises:
        Refused: it cannot listen there.
    """
    server = uvicorn.Server(_config(app, host, port))
    try:
        listening = server.config.bind_socket()
    except SystemExit:
        raise Refused(
            "nothing can listen there",
            on=f"{host}:{port}",
            next_action="choose another --inside-port, or end who has it",
        ) from None
    thread = Thread(target=server.run, args=([listening],), name="inside", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _plans(estate: OpenEstate) -> Sequence[PlanStatus]:
    return look(estate.file, estate.ledger.catalogue, datetime.now(UTC))


def _send(channels: Sequence[Channel], message: Message) -> Sequence[Delivery]:
    return Sending(message, channels, WITHIN_S).deliveries()


def _start(flow: str, parameters: Mapping[str, str], key: str) -> str:
    return start_run(flow, parameters, key=key)
