"""Writes rows at its own pace, as another user beside a drill's client, and logs what came of each. Run as a program.

It shares nothing with the drill's client: another driver (asyncpg, no libpq), other connections, another log. Each line
is [number, due, ended, acknowledged] by the machine's monotonic clock.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import asyncpg

_A_SECOND = 100
_AT_ONCE = 8
_WITHIN_S = 2.0
TABLE = "independent"


class _Pool:
    """Connections that are idle, and how many more may be opened. The name is looked up for each."""

    def __init__(self) -> None:
        self._idle: list[asyncpg.Connection] = []
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def write(self, number: int) -> None:
        async with self._room:
            connection = self._idle.pop() if self._idle else await asyncpg.connect(os.environ["WRITER_DSN"])
            try:
                await connection.execute(f"insert into {TABLE} values ($1)", number)
            except BaseException:
                connection.terminate()
                raise
            self._idle.append(connection)


async def _one(pool: _Pool, number: int, due_s: float) -> tuple[int, float, float, bool]:
    try:
        async with asyncio.timeout(max(due_s + _WITHIN_S - time.monotonic(), 0)):
            await pool.write(number)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        return number, due_s, time.monotonic(), False
    return number, due_s, time.monotonic(), True


async def _main() -> None:
    pool, began_s, number, running = _Pool(), time.monotonic(), 0, set[asyncio.Task[tuple[int, float, float, bool]]]()
    with Path(sys.argv[1]).open("a", buffering=1) as log:

        def ended(task: "asyncio.Task[tuple[int, float, float, bool]]") -> None:
            running.discard(task)
            log.write(json.dumps(task.result()) + "\n")

        while True:
            due_s = began_s + number / _A_SECOND
            await asyncio.sleep(max(due_s - time.monotonic(), 0))
            task = asyncio.create_task(_one(pool, number, due_s))
            running.add(task)
            task.add_done_callback(ended)
            number += 1


if __name__ == "__main__":
    os.nice(-10)
    asyncio.run(_main())
