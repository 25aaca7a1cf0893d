"""Writes rows through DNS and HAProxy as a user would, and keeps a log of what was acknowledged. Run as a program.

Each line of the log is [id, began, ended, outcome] by the machine's monotonic clock; 'ok' is an acknowledged commit,
'fail' was refused, 'unknown' may have been committed.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import psycopg

_WRITERS = 4
_PAUSE_S = 0.02
_WITHIN_S = 2.0


async def _write(numbers: "itertools.count[int]", log: TextIO) -> None:
    connection: psycopg.AsyncConnection | None = None
    while True:
        number, began, sent = next(numbers), time.monotonic(), False
        outcome = "ok"
        try:
            async with asyncio.timeout(_WITHIN_S):
                if connection is None:
                    # The name is asked for each time, as whoever keeps an address goes on to the old site.
                    connection = await psycopg.AsyncConnection.connect(
                        os.environ["WRITER_DSN"], autocommit=True, connect_timeout=2
                    )
                sent = True
                await connection.execute("insert into written (id) values (%s)", [number])
        except (psycopg.Error, OSError, TimeoutError) as error:
            refused = isinstance(error, psycopg.errors.ReadOnlySqlTransaction)
            outcome = "unknown" if sent and not refused else "fail"
            if connection is not None:
                connection.pgconn.finish()
            connection = None
        log.write(json.dumps([number, began, time.monotonic(), outcome]) + "\n")
        await asyncio.sleep(_PAUSE_S)


async def _main() -> None:
    numbers = itertools.count(int(sys.argv[2]))
    with Path(sys.argv[1]).open("a", buffering=1) as log:
        await asyncio.gather(*(_write(numbers, log) for _ in range(_WRITERS)))


if __name__ == "__main__":
    asyncio.run(_main())
