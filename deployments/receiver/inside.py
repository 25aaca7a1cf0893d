"""What the team sees of the receiver: recent deliveries, figures. On an address of its own, which no forge reaches."""

import html
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, select_autoescape
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from deployments.receiver.alarms import Alarm, Alarms
from deployments.receiver.backups import BackupFigures
from deployments.receiver.dispatcher import Dispatcher
from deployments.receiver.seen import Seen
from tasks.backup.status import PlanStatus
from tasks.common.delivery import Deliveries, Delivery, Status
from tasks.common.errors import SlipwayError
from tasks.common.run_steps import page_of

log = logging.getLogger("slipway.receive")

SHOWN = 100
_COUNTED = 10_000
AGAIN = (Status.STARTED, Status.REFUSED)
"""What can be started once more: it has asked for a run, and is not waiting for it."""
# Nothing from elsewhere, no scripts, and in nobody's frame.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_SILENT: dict[str, Any] = {"description": "The ledger does not answer."}


def again(delivery: Delivery) -> Delivery:
    """Return a new delivery that asks for the same run once more, although it was asked for before."""
    assert delivery.start is not None
    id_ = str(uuid4())
    event = replace(delivery.event, id=f"{delivery.event.id} again {id_}")
    start = replace(delivery.start, action=f"{delivery.start.action} again {id_}")
    return replace(delivery, id=id_, event=event, start=start, status=Status.WAITING, why="")


def make_inside(
    deliveries: Deliveries,
    dispatcher: Dispatcher,
    alarms: Alarms,
    seen: Seen,
    host: str,
    look: Callable[[], Sequence[PlanStatus]] = tuple,
) -> FastAPI:
    """Return the application.

    Args:
        deliveries: where they are kept.
        dispatcher: starts what is asked for once more.
        alarms: tells people what the Prefect server has found.
        seen: figures, and what was refused.
        host: under which name it is reached; also as localhost.
        look: returns the status of every backup plan; there is none without it.
    """
    backups = BackupFigures(seen.registry)
    app = FastAPI(title="Slipway's receiver, from inside", docs_url=None, redoc_url=None)
    # Else a page from elsewhere could have its own name lead here, and pass for this one.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[host, "localhost", "127.0.0.1"])
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape())
    template = pages.get_template("deliveries.html")

    @app.get("/", response_class=HTMLResponse, responses={503: _SILENT})
    async def page() -> Response:
        """Show the latest deliveries, and what was refused of late."""
        found: tuple[Delivery, ...] = ()
        problem = ""
        try:
            found = await run_in_threadpool(deliveries.latest, SHOWN)
        except SlipwayError as error:
            problem = f"{error.what}; {error.next_action}"
        text = template.render(
            deliveries=found, refused=list(reversed(seen.refused)), problem=problem, again=AGAIN, page_of=page_of
        )
        return HTMLResponse(text, 503 if problem else 200, {"Content-Security-Policy": _POLICY})

    @app.post(
        "/deliveries/{delivery_id}/again",
        status_code=303,
        response_class=HTMLResponse,
        responses={403: {"description": "Another page asks."}, 404: {"description": "There is none."}, 503: _SILENT},
    )
    async def start_again(delivery_id: str, request: Request) -> Response:
        """Ask for the delivery's run once more."""
        origin = urlsplit(request.headers.get("origin", "")).netloc
        if origin != request.headers.get("host", ""):
            # A page from elsewhere that is open in the same browser must not start anything.
            return HTMLResponse("only this page's own button starts it again", 403)
        try:
            found = await run_in_threadpool(deliveries.find, delivery_id)
            if found is None or found.status not in AGAIN or found.start is None:
                return HTMLResponse("there is no such delivery, or it cannot be started again", 404)
            kept = await run_in_threadpool(deliveries.keep, again(found))
        except SlipwayError as error:
            return HTMLResponse(html.escape(f"{error.what}: nothing was started; {error.next_action}"), 503)
        log.info("delivery %s is asked for again as %s", delivery_id, kept.id)
        dispatcher.wake()
        return RedirectResponse("/", 303)

    @app.post("/alarms", status_code=202)
    async def take_alarm(alarm: Alarm, later: BackgroundTasks) -> dict[str, str]:
        """Have people told of what the Prefect server has found; they are told after the answer."""
        try:
            message = await run_in_threadpool(alarms.take, alarm)
        except SlipwayError as error:
            raise HTTPException(503, f"{error.what}: nobody was told; {error.next_action}") from error
        if message is None:
            return {"status": "nothing to tell"}
        later.add_task(alarms.tell, message)
        return {"status": "telling"}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Return the figures as Prometheus reads them."""
        try:
            seen.wait(len(await run_in_threadpool(deliveries.waiting, _COUNTED)))
        except SlipwayError:
            # Not known is not none: an alert on the figure must not go out because of that.
            seen.wait(math.nan)
        try:
            backups.show(await run_in_threadpool(look))
        except SlipwayError:
            backups.forget()
        return Response(generate_latest(seen.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return app
