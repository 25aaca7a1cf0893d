"""A receiver with a source of each kind, over memory, in a real HTTP server of this process."""

import contextlib
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

import uvicorn
from fastapi import FastAPI

from blocks.memory.deliveries import MemoryDeliveries
from blocks.secrets import Secrets
from deployments.receiver.alarms import Alarms
from deployments.receiver.app import Receiver, make_app
from deployments.receiver.dispatcher import Dispatcher
from deployments.receiver.inside import make_inside
from deployments.receiver.limits import Limits
from deployments.receiver.seen import Seen
from tasks.common.webhooks import WebhookSource
from tests.support.deliveries import cloudevents_source, generic_source, source
from tests.support.processes import free_port, listens, wait_until
from tests.support.server import estate

WITHIN_S = 20.0


def no_alarms() -> Alarms:
    """Return what tells nobody of anything."""
    return Alarms(estate(), (), lambda run_id: None, lambda channels, message: (), Seen())


class Receiving:
    """A receiver, and in place of a Prefect server a list of what it was asked for.

    The secret of every source stands in the variable SLIPWAY_TEST_WEBHOOK.
    """

    def __init__(self, **sources: WebhookSource) -> None:
        self.deliveries, self.seen = MemoryDeliveries(), Seen()
        self.asked: dict[str, Mapping[str, str]] = {}
        secrets = Secrets()
        self.sources = {
            "github": source(),
            "gitlab": source("gitlab"),
            "generic": generic_source(),
            "events": cloudevents_source(),
            **sources,
        }
        self.dispatcher = Dispatcher(self.deliveries, self._start, secrets.redact, self.seen)
        receiver = Receiver(self.sources, secrets, self.deliveries, self.dispatcher.wake)
        self.app = make_app(receiver, self.deliveries, self.dispatcher, Limits(self.sources), self.seen)
        self.inside = make_inside(self.deliveries, self.dispatcher, no_alarms(), self.seen, "testserver")

    def _start(self, flow: str, parameters: Mapping[str, str], key: str) -> str:
        self.asked[key] = parameters
        return f"run-of-{flow}-{len(self.asked)}"

    @contextmanager
    def served(self) -> Iterator[int]:
        """Yield the port of 127.0.0.1 at which it listens."""
        with serving(self.app) as port:
            yield port


@contextmanager
def serving(app: FastAPI) -> Iterator[int]:
    """Yield the port of 127.0.0.1 at which the application is served."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: listens(port), what="the server")
        yield port
    finally:
        server.should_exit = True
        thread.join()


def exchange(port: int, sent: bytes, within_s: float = WITHIN_S) -> tuple[int, bytes]:
    """Send bytes as they are, and return the status and all of the answer; 0 where it was none, or not in time."""
    parts = []
    with (
        contextlib.suppress(TimeoutError, ConnectionError),
        socket.create_connection(("127.0.0.1", port), timeout=within_s) as connection,
    ):
        connection.sendall(sent)
        while part := connection.recv(65536):
            parts.append(part)
    answer = b"".join(parts)
    return (int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0), answer


def request(path: str, headers: list[tuple[str, str]], body: bytes = b"", method: str = "POST") -> bytes:
    """Return a request as bytes, with headers in this order, also repeated ones, and the body's length."""
    lines = [f"{method} {path} HTTP/1.1", "host: receiver", "connection: close", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
