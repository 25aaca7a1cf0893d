"""How a restored server is opened to its users: started with its own configuration, and seen to answer."""

import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from blocks import shell
from blocks.context import Context
from blocks.files import system_errors
from blocks.postgresql import USERS, find_binaries
from blocks.scratch.private import last_words
from blocks.targets.records import ROOM, beside
from blocks.targets.servers import servers_of
from blocks.targets.settings import Settings
from blocks.users import as_user, find_user, own
from tasks.common.errors import Unsafe

_CONFIGURATION = ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf")
_LOG = "open.log"
_TICK_S = 0.1
_MARGIN_S = 10.0


class Opening:
    """Starts and stops the server that users reach.

    Args:
        settings: which server, and how it is started.
        data: its folder.
        context: redacts, and resolves paths.
    """

    def __init__(self, settings: Settings, data: Path, context: Context) -> None:
        self._settings, self._data, self._redact = settings, data, context.secrets.redact
        self._config = context.resolve(settings.config_file) if settings.config_file else None

    @property
    def ping_address(self) -> bytes:
        """Return the address as libpq takes it; no one signs in there."""
        return make_conninfo(host=self._settings.host, port=self._settings.port, connect_timeout=2).encode()

    def answers(self) -> bool:
        """Return whether the server of the data folder takes connections on the address."""
        return bool(servers_of(self._data)) and PGconn.ping(self.ping_address) == Ping.OK

    def start(self) -> None:
        """The server of the data folder answers on the address.

        Raises:
            Unsafe: it does not start, or does not answer there.
        """
        if self._settings.start is not None:
            self._run(self._settings.start, self._settings.start_within_s, "start")
        elif not servers_of(self._data):
            self._run(self._pg_ctl(), self._settings.start_within_s + _MARGIN_S, "start")
        deadline = time.monotonic() + self._settings.start_within_s
        while not self.answers():
            if time.monotonic() > deadline:
                raise self._silent("it does not answer on its address")
            time.sleep(_TICK_S)

    def run_stop(self) -> None:
        """The command that stops the server has ended.

        Raises:
            Unsafe: it failed.
        """
        assert self._settings.stop is not None
        self._run(self._settings.stop, self._settings.stop_within_s, "stop")

    def _pg_ctl(self) -> list[str]:
        room = beside(self._data) / ROOM
        own(room, find_user(USERS))
        options = {
            "listen_addresses": self._settings.host,
            "port": str(self._settings.port),
            **({"config_file": str(self._config)} if self._config else {}),
            **self._settings.options,
        }
        version = (self._data / "PG_VERSION").read_text().strip()
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        how = ["--wait", f"--timeout={int(self._settings.start_within_s) or 1}", f"--log={room / _LOG}"]
        program = [
            *as_user(find_user(USERS)),
            str(find_binaries(version) / "pg_ctl"),
            "start",
            f"--pgdata={self._data}",
        ]
        # pg_ctl hands these to a shell.
        return [*program, *how, f"--options={shlex.join(flags)}"]

    def _run(self, argv: Sequence[str], within_s: float, what: str) -> None:
        done = shell.run(argv, cwd=self._data.parent, timeout_s=within_s, redact=self._redact)
        if done.exit_code != 0:
            raise self._silent(f"the command that should {what} it has ended with exit code {done.exit_code}")

    def _silent(self, what: str) -> Unsafe:
        said = last_words(beside(self._data) / ROOM / _LOG, self._redact)
        return Unsafe(
            f"{what}: {said}",
            on=f"{self._settings.host}:{self._settings.port}, {self._data}",
            state="the server may be running or not",
            next_action="read its log; see who has the address, and whether its settings fit this machine",
        )


def take_configuration(former: Path, data: Path, say: Callable[[str], None]) -> None:
    """The server has the former one's configuration: who may enter, how it archives. *Idempotent:* yes."""
    there = [name for name in _CONFIGURATION if (former / name).is_file()]
    user = find_user(USERS)
    with system_errors("the former server's configuration cannot be taken over", data):
        for name in there:
            shutil.copy2(former / name, data / name)
            if user is not None:
                shutil.chown(data / name, user.pw_uid, user.pw_gid)
    if there:
        say(f"taken over from the former state: {', '.join(there)}")
