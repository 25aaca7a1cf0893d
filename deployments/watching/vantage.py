"""A vantage point: looks at the sites from where it is when it is asked, and keeps nothing."""

import asyncio
from collections.abc import Sequence

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException

from tasks.common.estate import Estate
from tasks.common.failovers import FailoverPlan, Watch

_ENDS_WITHIN_S = 5


def make_vantage(estate: Estate) -> FastAPI:
    """Return the application: `GET /looks/FAILOVER` looks at every site of a failover, now.

    It fetches the addresses that its own estate file names, and none that a request does.
    """
    app = FastAPI(title="Vantage point of Slipway", docs_url=None, redoc_url=None)

    @app.get("/looks/{failover}")
    async def looks(failover: str) -> dict[str, object]:
        plan = estate.failovers.get(failover)
        if plan is None or plan.watch is None:
            raise HTTPException(404, "no such failover is watched by this estate file")
        return await _look(plan, plan.watch)

    return app


def serve(estate: Estate, host: str, port: int) -> None:
    """Be a vantage point until the process is told to end."""
    config = uvicorn.Config(
        make_vantage(estate),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_ENDS_WITHIN_S,
    )
    uvicorn.Server(config).run()


async def _look(plan: FailoverPlan, watch: Watch) -> dict[str, object]:
    asked = {name: site.health for name, site in plan.sites.items() if site.health is not None}
    urls = [*watch.control, *(url for health in asked.values() for url in (health.site, health.database))]
    well = await _answering(tuple(dict.fromkeys(urls)), watch.within_s)
    sites = {name: {"site": well[each.site], "database": well[each.database]} for name, each in asked.items()}
    return {"control": any(well[url] for url in watch.control), "sites": sites}


async def _answering(urls: Sequence[str], within_s: float) -> dict[str, bool]:
    """Return which of the addresses answer 2xx in the time, all asked at once."""
    async with httpx.AsyncClient(trust_env=False, timeout=within_s, follow_redirects=False) as client:

        async def answers(url: str) -> bool:
            try:
                # httpx bounds each read for itself: a server that sends a byte now and then would never be late.
                async with asyncio.timeout(within_s):
                    return (await client.get(url)).is_success
            except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, ExceptionGroup):
                return False

        found = await asyncio.gather(*map(answers, urls))
    return dict(zip(urls, found, strict=True))
