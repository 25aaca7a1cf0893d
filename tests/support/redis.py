"""A private Redis server with a password, ended by its process id."""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.needs import need
from tests.support.processes import free_port, running, wait_until

# Without any key, and with a checksum of zero, which stands for none. *Source:* rdb.c of Redis 7.0.
EMPTY_SNAPSHOT = b"REDIS0009\xff" + bytes(8)


class RedisServer:
    """A server that keeps nothing on disk but what it is told to; its password is in a file that only root can read.

    Args:
        folder: for its configuration and its log.
        data: the folder that it works in; None for the same.
    """

    def __init__(self, folder: Path, data: Path | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.password = secrets.token_urlsafe(16)
        self.config = folder / "redis.conf"
        # Replicas, and redis-cli is one, are waited for five seconds where nobody says otherwise.
        self.config.write_text(
            f"port {self.port}\nbind 127.0.0.1\nrequirepass {self.password}\ndir {data or folder}\n"
            'save ""\nrepl-diskless-sync-delay 0\nenable-debug-command local\n'
        )
        self.config.chmod(0o600)
        self._exit = contextlib.ExitStack()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The server answers; it is empty."""
        argv = [str(need("redis-server")), str(self.config)]
        self.process = self._exit.enter_context(running(argv, log=self.folder / "redis.log"))
        wait_until(lambda: self.ask("PING") == "PONG", what="Redis answers")

    def stop(self) -> None:
        """The server has ended."""
        self._exit.close()
        self.process = None

    def ask(self, *command: str) -> str:
        """Return what the server answers."""
        done = subprocess.run(
            [str(need("redis-cli")), "-p", str(self.port), *command],
            env={**os.environ, "REDISCLI_AUTH": self.password},
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()


@contextlib.contextmanager
def running_redis(folder: Path, data: Path | None = None) -> Iterator[RedisServer]:
    """A server runs for the length of a `with`."""
    server = RedisServer(folder, data)
    try:
        server.start()
        yield server
    finally:
        server.stop()
