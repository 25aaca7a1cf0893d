"""A Prefect server for tests whose flows run in pytest's own process.

It is a process of its own. Prefect's harness for tests is not used: where a flow's last events were still on their way,
its end waited for them without bound.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import free_port, listens, running, wait_until

DRAIN_WITHIN_S = 10.0
_DATABASE = "prefect.db"


@contextlib.contextmanager
def prefect_server(folder: Path, port: int = 0) -> Iterator[str]:
    """A Prefect server with its data in the folder runs for the length of a `with`; yields the address of its API."""
    port = port or free_port()
    if not (folder / _DATABASE).exists():
        shutil.copy(_empty_database(folder), folder)
    argv = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    env = {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with running(argv, log=folder / "log", env=env):
        wait_until(lambda: listens(port), within_s=240, what="the Prefect server")
        yield f"http://127.0.0.1:{port}/api"


def _empty_database(folder: Path) -> Path:
    """Return a new server's database. It takes many seconds to make, and is made once in a test run."""
    of_the_run = next((each for each in folder.parents if "pytest-of-" in each.parent.name), folder)
    place = of_the_run / "prefect-database"
    # Another process of the run may want it at the same moment.
    with (of_the_run / "prefect-database.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / _DATABASE).exists():
            argv = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
            new = of_the_run / "prefect-database.new"
            subprocess.run(argv, env={**os.environ, "PREFECT_HOME": str(new)}, check=True, capture_output=True)
            new.rename(place)
    return place / _DATABASE


@contextlib.contextmanager
def flows_of(api: str) -> Iterator[None]:
    """Flows of this process are shown by that server. They send no heartbeats, which delay each end by a second."""
    # Every suite imports this module, and most need no Prefect.
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_API_URL: api, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        # Prefect has one queue of events for all servers: one that still looks for another test's is left behind.
        EventsWorker.drain_all(timeout=0)
        try:
            yield
        finally:
            EventsWorker.drain_all(timeout=DRAIN_WITHIN_S)
            APILogWorker.drain_all(timeout=DRAIN_WITHIN_S)
