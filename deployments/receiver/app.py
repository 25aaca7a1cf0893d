"""The receiver of webhooks as a web application: it takes what is signed, and keeps it before it says so (TRG-1)."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from blocks.secrets import Secrets
from deployments.receiver.dispatcher import Dispatcher
from deployments.receiver.seen import Seen
from tasks.common.delivery import Deliveries, Delivery, Status
from tasks.common.errors import SlipwayError
from tasks.common.webhooks import WebhookSource
from tasks.webhook.decide import decide
from tasks.webhook.model import Forged, Malformed
from tasks.webhook.payload import read
from tasks.webhook.signature import verify

log = logging.getLogger("slipway.receive")

BODY_AT_MOST_BYTES = 2**20
SECRETS_FOR_S = 30.0
"""How long a resolved secret is used before it is looked up again, so that a changed one counts soon."""
_BODY_WITHIN_S = 10.0
_JSON = "application/json"


class Refusal(Exception):
    """A delivery is not taken.

    Args:
        status: of the answer.
        what: is wrong.
        next_action: what the sender does next.
    """

    def __init__(self, status: int, what: str, next_action: str) -> None:
        self.status, self.what, self.next_action = status, what, next_action
        super().__init__(what)

    def answer(self) -> JSONResponse:
        """Return it as the sender gets it."""
        headers = {"Retry-After": "30"} if self.status in (429, 503) else {}
        return JSONResponse({"error": self.what, "next": self.next_action}, self.status, headers)


class Bucket:
    """Lets so many through a second, and so many at once; for one thread.

    Args:
        a_second: on average.
        at_once: in a burst.
        clock: returns seconds, never less than before.
    """

    def __init__(self, a_second: float, at_once: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_second, self._at_once, self._clock = a_second, at_once, clock
        self._left, self._at_s = at_once, clock()

    def take(self) -> bool:
        """Return whether one more may go through."""
        now_s = self._clock()
        self._left = min(self._at_once, self._left + (now_s - self._at_s) * self._a_second)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass
class _Held:
    values: list[str]
    at_s: float


class Receiver:
    """Takes deliveries for the sources of an estate.

    Args:
        sources: by the name that stands in the address.
        secrets: resolves their secrets.
        deliveries: where they are kept.
        wake: is told when there is a run to start.
    """

    def __init__(
        self, sources: Mapping[str, WebhookSource], secrets: Secrets, deliveries: Deliveries, wake: Callable[[], None]
    ) -> None:
        self._sources, self._secrets, self._deliveries, self._wake = sources, secrets, deliveries, wake
        self._held: dict[str, _Held] = {}

    def take(self, name: str, headers: Mapping[str, str], body: bytes) -> Delivery:
        """The delivery is kept, and its run will be started; returns it as it is kept.

        *Idempotent:* yes: the second time the first one is returned.

        Raises:
            Refusal: it is not taken, and nothing was kept.
        """
        if name not in self._sources:
            raise Refusal(404, "there is no such source", "use an address that the estate file has under webhooks")
        source, now = self._sources[name], datetime.now(UTC)
        try:
            verify(source.forge, headers, body, self._values(name, source), now)
            event = read(source.forge, headers, body)
            start, why = decide(event, source.rules)
            status = Status.WAITING if start else Status.IGNORED
            kept = self._deliveries.keep(Delivery(str(uuid4()), name, event, now, start, status, why))
        except Forged as error:
            raise Refusal(401, error.what, error.next_action) from error
        except Malformed as error:
            raise Refusal(400, error.what, error.next_action) from error
        except SlipwayError as error:
            log.error("a delivery to %s could not be kept: %s", name, self._secrets.redact(str(error)))
            raise Refusal(503, "it cannot be kept now", "send it again") from error
        if kept.status is Status.WAITING:
            self._wake()
        return kept

    def _values(self, name: str, source: WebhookSource) -> list[str]:
        held = self._held.get(name)
        if held is None or time.monotonic() - held.at_s > SECRETS_FOR_S:
            held = _Held([self._secrets.resolve(each) for each in source.secrets], time.monotonic())
            self._held[name] = held
        return held.values


def make_app(receiver: Receiver, deliveries: Deliveries, dispatcher: Dispatcher, bucket: Bucket, seen: Seen) -> FastAPI:
    """Return the application.

    Args:
        receiver: takes deliveries.
        deliveries: where they are kept.
        dispatcher: works as long as the application runs.
        bucket: how many are looked at; the rest is told to come again.
        seen: counts.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        """The dispatcher works as long as the application runs."""
        del app
        dispatcher.start()
        try:
            yield
        finally:
            await run_in_threadpool(dispatcher.stop)

    # No pages of documentation: they load scripts from elsewhere.
    app = FastAPI(title="Slipway's receiver of webhooks", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.post("/webhooks/{source}", status_code=202)
    async def take(source: str, request: Request) -> JSONResponse:
        """Take a delivery: it is kept, and the run that it asks for is started soon, once."""
        with seen.timed():
            try:
                if not bucket.take():
                    raise Refusal(429, "too many deliveries", "send it again later")
                if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
                    raise Refusal(415, "the body is not sent as JSON", f"set the content type of the hook to {_JSON}")
                body = await _body(request)
                headers = {name.lower(): value for name, value in request.headers.items()}
                kept = await run_in_threadpool(receiver.take, source, headers, body)
            except Refusal as refusal:
                seen.refuse(source, refusal.status, refusal.what)
                log.warning("refused with %d: %s", refusal.status, refusal.what)
                return refusal.answer()
        seen.taken(kept)
        log.info("delivery %s is %s", kept.id, kept.status)
        return JSONResponse({"delivery": kept.id, "status": kept.status, "why": kept.why}, 202)

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        """Say that the process answers."""
        return {"status": "live"}

    @app.get("/health/ready")
    async def ready() -> JSONResponse:
        """Say whether a delivery could be kept now, and its run be started."""
        if not dispatcher.works:
            return JSONResponse({"status": "no runs are started any more", "next": "start the receiver again"}, 503)
        try:
            await run_in_threadpool(deliveries.waiting, 1)
        except SlipwayError as error:
            return JSONResponse({"status": "the ledger does not answer", "next": error.next_action}, 503)
        return JSONResponse({"status": "ready"})

    return app


async def _body(request: Request) -> bytes:
    """Return the whole body, unless it is too large or comes too slowly.

    Raises:
        Refusal: it is, and the rest was not read.
    """
    too_large = Refusal(413, f"the body is larger than {BODY_AT_MOST_BYTES} bytes", "send smaller ones")
    if int(length if (length := request.headers.get("content-length", "")).isdecimal() else 0) > BODY_AT_MOST_BYTES:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            async for part in request.stream():
                size += len(part)
                if size > BODY_AT_MOST_BYTES:
                    raise too_large
                parts.append(part)
    except TimeoutError:
        raise Refusal(408, "the body did not come in time", "send it again") from None
    except ClientDisconnect:
        raise Refusal(400, "the sender has gone before the end of the body", "send it again") from None
    return b"".join(parts)
