"""The receiver of webhooks as a web application: it takes what is signed, and keeps it before it says so (TRG-1)."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from blocks.secrets import Secrets
from deployments.receiver.answers import Health, Refusal, Taken, described
from deployments.receiver.dispatcher import Dispatcher
from deployments.receiver.limits import Limits
from deployments.receiver.seen import Seen
from tasks.common.delivery import Deliveries, Delivery, Status
from tasks.common.errors import SlipwayError
from tasks.common.webhooks import WebhookSource
from tasks.webhook.decide import decide
from tasks.webhook.model import Forged, Malformed
from tasks.webhook.payload import media_problem, read
from tasks.webhook.signature import verify

log = logging.getLogger("slipway.receive")

BODY_AT_MOST_BYTES = 2**20
SECRETS_FOR_S = 30.0
"""How long a resolved secret is used before it is looked up again, so that a changed one counts soon."""
_BODY_WITHIN_S = 10.0
_DIGITS_AT_MOST = 12
_REFUSED = (400, 401, 404, 408, 413, 415, 429, 503)
_BODY: dict[str, Any] = {
    "required": True,
    "description": "what the source sends: an object in JSON, or a CloudEvent",
    "content": {"application/json": {"schema": {}}, "application/cloudevents+json": {"schema": {"type": "object"}}},
}


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

    def source(self, name: str) -> WebhookSource:
        """Return the source of that name.

        Raises:
            Refusal: there is none.
        """
        if name not in self._sources:
            raise Refusal(404, "there is no such source", "use an address that the estate file has under webhooks")
        return self._sources[name]

    def agreed(self, name: str, origin: str) -> dict[str, str]:
        """Return the headers that tell a sender that it may send here. Nobody is called back.

        *Source:* CloudEvents, "HTTP 1.1 Web Hooks for Event Delivery" 1.0.2, section 4.

        Raises:
            Refusal: the estate file does not name it.
        """
        source = self.source(name)
        if not source.origins:
            raise Refusal(405, "this source has no handshake", "send deliveries with POST")
        if origin not in source.origins:
            raise Refusal(403, "this origin may not send here", "name it under origins of the source")
        a_minute = max(1, int(source.per_second * 60))
        return {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": str(a_minute), "Allow": "POST"}

    def take(self, name: str, headers: Mapping[str, str], body: bytes) -> Delivery:
        """The delivery is kept, and its run will be started; returns it as it is kept.

        *Idempotent:* yes: the second time the first one is returned.

        Raises:
            Refusal: it is not taken, and nothing was kept.
        """
        source, now = self.source(name), datetime.now(UTC)
        try:
            verify(source, headers, body, self._values(name, source), now)
            event = read(source, headers, body, now)
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


def make_app(receiver: Receiver, deliveries: Deliveries, dispatcher: Dispatcher, limits: Limits, seen: Seen) -> FastAPI:
    """Return the application.

    Args:
        receiver: takes deliveries.
        deliveries: where they are kept.
        dispatcher: works as long as the application runs.
        limits: how many are looked at; the rest is told when to come again.
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

    @app.post(
        "/webhooks/{source}",
        status_code=202,
        response_model=Taken,
        responses=described(*_REFUSED),
        openapi_extra={"requestBody": _BODY},
    )
    async def take(source: str, request: Request) -> JSONResponse:
        """Take a delivery: it is kept, and the run that it asks for is started soon, once."""
        with seen.timed():
            try:
                _let_through(limits, source)
                forge, headers = receiver.source(source).forge, _headers(request)
                if problem := media_problem(forge, headers.get("content-type", "")):
                    raise Refusal(415, problem, "set the content type of the hook")
                body = await _body(request)
                kept = await run_in_threadpool(receiver.take, source, headers, body)
            except Refusal as refusal:
                seen.refuse(source, refusal.status, refusal.what)
                log.warning("refused with %d: %s", refusal.status, refusal.what)
                return refusal.answer()
        seen.taken(kept)
        log.info("delivery %s is %s", kept.id, kept.status)
        return JSONResponse({"delivery": kept.id, "status": kept.status, "why": kept.why}, 202)

    @app.options("/webhooks/{source}", response_class=Response, responses=described(403, 404, 405, 429))
    async def agree(source: str, request: Request) -> Response:
        """Tell a sender of CloudEvents whether it may send here."""
        try:
            _let_through(limits, source)
            return Response(headers=receiver.agreed(source, _headers(request).get("webhook-request-origin", "")))
        except Refusal as refusal:
            seen.refuse(source, refusal.status, refusal.what)
            return refusal.answer()

    @app.get("/health/live", response_model=Health, response_model_exclude_defaults=True)
    async def live() -> dict[str, str]:
        """Say that the process answers."""
        return {"status": "live"}

    @app.get("/health/ready", response_model=Health, responses={503: {"model": Health, "description": "It is not."}})
    async def ready() -> JSONResponse:
        """Say whether a delivery could be kept now, and its run be started."""
        if not dispatcher.works:
            return JSONResponse({"status": "no runs are started any more", "next": "start the receiver again"}, 503)
        try:
            await run_in_threadpool(deliveries.waiting, 1)
        except SlipwayError as error:
            return JSONResponse({"status": "the ledger does not answer", "next": error.next_action}, 503)
        return JSONResponse({"status": "ready"})

    # What the sources send is judged by the receiver: there is no answer 422.
    for operations in app.openapi()["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    return app


def _let_through(limits: Limits, source: str) -> None:
    """The source may send one more now.

    Raises:
        Refusal: it may not; says when.
    """
    if wait_s := limits.take(source):
        raise Refusal(429, "too many deliveries", f"send it again in {wait_s} s", wait_s)


def _headers(request: Request) -> dict[str, str]:
    """Return the headers by lower-case name; several of one name in lines, which no single one can have."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


async def _body(request: Request) -> bytes:
    """Return the whole body, unless it is too large or comes too slowly.

    Raises:
        Refusal: it is, and the rest was not read.
    """
    too_large = Refusal(413, f"the body is larger than {BODY_AT_MOST_BYTES} bytes", "send smaller ones")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > _DIGITS_AT_MOST or int(length) > BODY_AT_MOST_BYTES):
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
