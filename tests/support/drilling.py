"""A drill's client that tests start, and another one that is written in a different way, to compare with."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from blocks.drills.client import Orders
from blocks.drills.ids import VARIABLE
from tasks.drill.log import Log, parse
from tests.support.processes import wait_until

ROOT = Path(__file__).parents[2]


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
        """Return the time from the begin of its first failure to the end of the first success after its last one."""
        log = sorted(self.log)
        failed = [each for each in log if not each[2]]
        assert failed, "it has seen no failure"
        back_s = min(end for begin, end, good in log if good and begin > failed[-1][0])
        return back_s - failed[0][0]
