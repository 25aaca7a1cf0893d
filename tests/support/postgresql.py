"""A private PostgreSQL cluster, ended by its process id. Speed before durability: it never outlives a test session."""

import contextlib
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.pq import PGconn, Ping

from blocks.postgresql import find_binaries
from deployments.lab import postgresql
from tasks.common.errors import Refused
from tests.support.needs import missing, need
from tests.support.processes import end, free_port, running, wait_until

SUPERUSER = "root-of-all"
ROLE = "app"
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Cluster:
    """A cluster that can be stopped and started again on the same port; `database()` makes a fresh, empty database.

    Args:
        folder: holds everything.
        env: added to the server's environment; no secrets.
        settings: of the server, in addition.
    """

    def __init__(self, folder: Path, env: dict[str, str] | None = None, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.env = env or {}
        self.settings = {**_FAST, **(settings or {})}
        self.data = folder / "data"
        self.port = free_port()
        self.password = secrets.token_urlsafe(16)
        self.role_password = secrets.token_urlsafe(16)
        self._databases = 0
        self._exit = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        password_file = folder / "superuser-password"
        password_file.write_text(self.password + "\n")
        password_file.chmod(0o600)
        postgresql.initialise(self.data, SUPERUSER, password_file)

    @property
    def log(self) -> Path:
        """Return the server's log."""
        return self.folder / "postgresql.log"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the running server's process."""
        assert self._process is not None, "the cluster is not running"
        return self._process

    def start(self) -> None:
        """The server accepts connections."""
        user = postgresql.as_server_user()
        command = postgresql.server_command(self.data, self.port, self.folder / "sockets")[len(user) :]
        # Behind the change of user: what a preloaded library makes as root, the server's user may not open.
        argv = [*user, "env", *(f"{name}={value}" for name, value in self.env.items()), *command]
        argv += [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        self._process = self._exit.enter_context(running(argv, log=self.log))
        try:
            postgresql.wait_ready(self.port)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """The server has ended, and every session with it (fast shutdown)."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
            end(self._process)
        self._exit.close()
        self._process = None

    def database(self) -> str:
        """Return the address of a fresh database, which the role in the address owns."""
        self._databases += 1
        name = f"test_{self._databases}"
        postgresql.create_database(
            self.port,
            superuser=SUPERUSER,
            superuser_password=self.password,
            role=ROLE,
            password=self.role_password,
            database=name,
        )
        return f"postgresql://{ROLE}:{quote(self.role_password, safe='')}@127.0.0.1:{self.port}/{name}"

    def as_superuser(self, url: str) -> psycopg.Connection:
        """Return a superuser's connection to the database of a `database()` address."""
        return psycopg.connect(url, user=SUPERUSER, password=self.password, autocommit=True)


@contextlib.contextmanager
def running_cluster(
    folder: Path, env: dict[str, str] | None = None, settings: dict[str, str] | None = None
) -> Iterator[Cluster]:
    """A cluster in the folder runs for the length of a `with`. Not installed: a skip, in CI a failure."""
    need("setpriv")
    try:
        find_binaries()
    except Refused:
        missing("PostgreSQL is not installed here")
    cluster = Cluster(folder, env, settings)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@contextlib.contextmanager
def running_copy(data: Path, folder: Path) -> Iterator[int]:
    """A restored data folder is a running server for the length of a `with`; yields its port. It has recovered."""
    port = free_port()
    command = postgresql.server_command(data, port, folder / "sockets")
    command += [part for name, value in _FAST.items() for part in ("-c", f"{name}={value}")]
    address = f"host=127.0.0.1 port={port} connect_timeout=2".encode()
    with running(command, log=folder / "copy.log") as process:

        def answers() -> bool:
            log = (folder / "copy.log").read_text(errors="replace")[-2000:]
            assert process.poll() is None, f"the restored server has ended:\n{log}"
            return PGconn.ping(address) == Ping.OK

        wait_until(answers, what="the restored server")
        yield port
