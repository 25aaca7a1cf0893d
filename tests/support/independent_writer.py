"""Writes rows at its own pace, as another user beside a drill's client, and logs what came of each. Run as a program.

It shares nothing with the drill's client: another driver (asyncpg, no libpq), other connections, another log. Each line
is [number, due, ended, acknowledged] by the machine's monotonic clock, or by how many seconds it was late itself.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import asyncpg

_A_SECOND = 50
_CONNECTIONS = 4
_WITHIN_S = 2.0
_AGAIN_S = 0.02
_LATE_S = 0.05
TABLE = "independent"
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


async def _work(waiting: "asyncio.LifoQueue[tuple[int, float]]", log: TextIO) -> None:
    """Rows are written on a connection that is kept; without one, it is asked for one again and again."""
    connection: asyncpg.Connection | None = None
    while True:
        if connection is None:
            try:
                # The name is looked up each time.
                connection = await asyncpg.connect(os.environ["WRITER_DSN"], timeout=_WITHIN_S)
            except _FAILURES:
                await asyncio.sleep(_AGAIN_S)
                continue
        number, due_s = await waiting.get()
        good, left_s = False, due_s + _WITHIN_S - time.monotonic()
        if left_s > 0:
            try:
                async with asyncio.timeout(left_s):
                    await connection.execute(f"insert into {TABLE} values ($1)", number)
                good = True
            except _FAILURES:
                connection.terminate()
                connection = None
        ended_s = min(time.monotonic(), due_s + _WITHIN_S)
        log.write(json.dumps([number, due_s, ended_s, good]) + "\n")


async def _main() -> None:
    waiting, began_s, number = asyncio.LifoQueue[tuple[int, float]](), time.monotonic(), 0
    with Path(sys.argv[1]).open("a", buffering=1) as log:
        workers = [asyncio.create_task(_work(waiting, log)) for _ in range(_CONNECTIONS)]
        while not any(each.done() for each in workers):
            due_s = began_s + number / _A_SECOND
            await asyncio.sleep(max(due_s - time.monotonic(), 0))
            late_s = time.monotonic() - due_s
            if late_s > _LATE_S:
                log.write(f"{late_s:.6f}\n")
            waiting.put_nowait((number, due_s))
            number += 1
        await asyncio.gather(*workers)


if __name__ == "__main__":
    # What else the machine does is not to be measured.
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    asyncio.run(_main())
