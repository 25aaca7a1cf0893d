"""Serve campus until a TERM signal; open requests are finished first."""

import logging
import os

import uvicorn

from campus.app import create_app
from campus.settings import Settings


def main() -> None:
    settings = Settings.read(os.environ)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    uvicorn.run(
        create_app(settings),
        host=os.environ.get("HOST", "127.0.0.1"),
        port=settings.port,
        loop="asyncio",
        http="h11",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        # Longer than a load balancer keeps an idle connection, so that it is never this side that closes one in use.
        timeout_keep_alive=65,
        timeout_graceful_shutdown=15,
    )


if __name__ == "__main__":
    main()
