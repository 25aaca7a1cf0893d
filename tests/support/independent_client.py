"""Writes rows, or visits a page, at its own pace, as another user beside a drill's client, and logs what came of each.

Run as a program: 'LOG A_SECOND WITHIN_S', with the database or the page in CLIENT_ADDRESS. It shares nothing with the
drill's client: another driver (asyncpg, no libpq; HTTP by hand), other connections, another log. Each line is
[number, due, ended, acknowledged] by the machine's monotonic clock, or by how many seconds it was late itself.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import asyncpg

_CONNECTIONS = 10
_WITHIN_S = 2.0
_AGAIN_S = 0.02
_LATE_S = 0.05
TABLE = "independent"
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

Next = Callable[[], Awaitable[tuple[int, float]]]
"""Gives number and moment of what is due next, the newest first."""
Log = Callable[[int, float, bool], None]


async def _write(address: str, given: Next, within_s: float, log: Log) -> None:
    """Rows are written on a connection that is kept; without one, it is asked for one again and again."""
    connection: asyncpg.Connection | None = None
    while True:
        if connection is None:
            try:
                # The name is looked up each time.
                connection = await asyncpg.connect(address, timeout=_WITHIN_S)
            except _FAILURES:
                await asyncio.sleep(_AGAIN_S)
                continue
        number, due_s = await given()
        good, left_s = False, due_s + within_s - time.monotonic()
        if left_s > 0:
            try:
                async with asyncio.timeout(left_s):
                    await connection.execute(f"insert into {TABLE} values ($1)", number)
                good = True
            except _FAILURES:
                connection.terminate()
                connection = None
        log(number, due_s, good)


async def _visit(address: str, given: Next, within_s: float, log: Log) -> None:
    """The page is asked for, each time on a connection of its own."""
    while True:
        number, due_s = await given()
        good, left_s = False, due_s + within_s - time.monotonic()
        if left_s > 0:
            with suppress(*_FAILURES):
                async with asyncio.timeout(left_s):
                    good = await _is_answered(urlsplit(address))
        log(number, due_s, good)


async def _is_answered(page: SplitResult) -> bool:
    reader, writer = await asyncio.open_connection(page.hostname, page.port or 80)
    try:
        writer.write(f"GET {page.path or '/'} HTTP/1.1\r\nHost: {page.netloc}\r\nConnection: close\r\n\r\n".encode())
        return (await reader.readline()).split()[1:2] == [b"200"]
    finally:
        writer.close()


async def _main() -> None:
    path, a_second, within_s = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    address = os.environ["CLIENT_ADDRESS"]
    work = _visit if address.startswith("http:") else _write
    waiting, began_s, number = asyncio.LifoQueue[tuple[int, float]](), time.monotonic(), 0
    with path.open("a", buffering=1) as file:

        def log(number: int, due_s: float, good: bool) -> None:
            file.write(json.dumps([number, due_s, min(time.monotonic(), due_s + within_s), good]) + "\n")

        workers = [asyncio.create_task(work(address, waiting.get, within_s, log)) for _ in range(_CONNECTIONS)]
        while not any(each.done() for each in workers):
            due_s = began_s + number / a_second
            await asyncio.sleep(max(due_s - time.monotonic(), 0))
            late_s = time.monotonic() - due_s
            if late_s > _LATE_S:
                file.write(f"{late_s:.6f}\n")
            waiting.put_nowait((number, due_s))
            number += 1
        await asyncio.gather(*workers)


if __name__ == "__main__":
    # What else the machine does is not to be measured.
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    asyncio.run(_main())
