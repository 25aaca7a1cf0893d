"""A drill's client that tests start, and another one that is written in a different way, to compare with."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import psycopg

from blocks.drills.client import Orders
from blocks.drills.ids import VARIABLE
from tasks.drill.log import Log, parse
from tests.support.processes import wait_until

ROOT = Path(__file__).parents[2]
_SUSTAINED_S = 5.0


def read_log(path: Path) -> Log:
    return parse(path.read_text().splitlines(keepends=True), str(path))


@contextlib.contextmanager
def client(orders: Orders) -> Iterator[subprocess.Popen[bytes]]:
    """A drill's client runs for the length of a `with`; afterwards its log is whole."""
    log = Path(orders.log)
    process = subprocess.Popen(
        [sys.executable, "-m", "blocks.drills.client"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), VARIABLE: orders.text()},
        start_new_session=True,
    )
    try:
        wait_until(lambda: log.exists() and log.read_text().count("\n") > 20, what="the client's first lines")
        yield process
        process.terminate()
        process.wait(20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


class Independent:
    """Inserts a row every 20 ms with psycopg, each on a connection of its own, and notes what came of it."""

    def __init__(self, address: str) -> None:
        self.log: list[tuple[float, float, bool]] = []
        self._address = address
        self._leaving = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(4)]

    def _work(self, number: int) -> None:
        while not self._leaving.is_set():
            began_s, good = time.monotonic(), False
            with contextlib.suppress(psycopg.Error):
                with psycopg.connect(self._address, connect_timeout=2, autocommit=True) as connection:
                    connection.execute("insert into other_client default values")
                good = True
            self.log.append((began_s, time.monotonic(), good))
            self._leaving.wait(0.02)

    def __enter__(self) -> "Independent":
        with psycopg.connect(self._address, autocommit=True) as connection:
            connection.execute("create table other_client (id bigint generated always as identity)")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        for thread in self._threads:
            thread.join(5)

    def rto_s(self) -> float:
        """Return the longest time that it was not served."""
        found = longest_outage_s(self.log, time.monotonic())
        assert found, "it has seen no failure"
        return found


def longest_outage_s(writes: Sequence[tuple[float, float, bool]], until_s: float) -> float:
    """Return how long the longest outage was."""
    first_s, back_s = longest_outage(writes, until_s)
    return back_s - first_s


def longest_outage(writes: Sequence[tuple[float, float, bool]], until_s: float) -> tuple[float, float]:
    """Return when a write failed, and the first success after which 5 s passed without another failure; 0, 0: never.

    It is reckoned otherwise than the product does it.

    Args:
        writes: when each was due, when it ended, and whether it was acknowledged.
        until_s: when the last one was due, or later.
    """
    failed = sorted(due for due, _, good in writes if not good)
    if not failed:
        return 0.0, 0.0
    breaks = [0, *(at for at, (one, other) in enumerate(pairwise(failed), 1) if other - one > _SUSTAINED_S)]
    found = []
    for first, after in zip(breaks, [*breaks[1:], len(failed)], strict=True):
        last, following = failed[after - 1], failed[after] if after < len(failed) else until_s
        back = min(ended for due, ended, good in writes if good and last < due < following)
        found.append((failed[first], back))
    return max(found, key=lambda each: each[1] - each[0])
