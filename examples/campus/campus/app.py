"""The application: endpoints, metrics and database put together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from campus import api
from campus.database import Database, Unreachable
from campus.metrics import Metrics, Observed
from campus.settings import Settings


def create_app(settings: Settings) -> Starlette:
    """Return the application. It starts without a database, and is ready once there is one."""
    metrics = Metrics(settings.release, api.ROUTES, [route.endpoint for route in api.FOR_MACHINES])
    database = Database(settings.database_url)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await database.open()
        preparing = asyncio.create_task(database.prepare())
        try:
            yield
        finally:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)
            await database.close()

    app = Starlette(
        routes=[*api.ROUTES, *api.FOR_MACHINES],
        middleware=[Middleware(Observed, metrics=metrics)],
        exception_handlers={HTTPException: _refused, Unreachable: _unavailable},
        lifespan=lifespan,
    )
    app.state.settings, app.state.metrics, app.state.database = settings, metrics, database
    return app


async def _refused(request: Request, error: HTTPException) -> Response:
    del request
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _unavailable(request: Request, error: Unreachable) -> Response:
    del request, error
    return JSONResponse({"error": "the database is not reachable"}, 503, {"Retry-After": "1"})
