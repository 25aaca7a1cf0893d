"""Asks a database, such as that of the host that it runs on, whether it takes writes. Run as a program.

Each line of the log is [began, ended, writable] by the machine's monotonic clock; writable is null for no answer.
"""

import json
import os
import sys
import time
from pathlib import Path

import psycopg

_EVERY_S = 0.1


def main() -> None:
    connection: psycopg.Connection | None = None
    with Path(sys.argv[1]).open("a", buffering=1) as log:
        while True:
            began, writable = time.monotonic(), None
            try:
                if connection is None:
                    connection = psycopg.connect(os.environ["WATCHER_DSN"], autocommit=True, connect_timeout=2)
                row = connection.execute("select not pg_is_in_recovery()").fetchone()
                writable = bool(row and row[0])
            except psycopg.Error:
                connection = None
            log.write(json.dumps([began, time.monotonic(), writable]) + "\n")
            time.sleep(_EVERY_S)


if __name__ == "__main__":
    main()
