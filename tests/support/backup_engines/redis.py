"""Redis, of a server that all tests share."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from blocks.backups.redis_snapshot import SNAPSHOT, RedisEngine
from tasks.backup.ports import BackupEngine
from tests.support.backup_engines import Rig, Rigs
from tests.support.backup_engines.sealed import SealedRig
from tests.support.needs import need
from tests.support.redis import RedisServer, running_redis


class RedisRig(SealedRig):
    """An empty server; its content is one list."""

    programs = frozenset({"redis-cli"})

    def __init__(self, folder: Path, server: RedisServer) -> None:
        super().__init__(folder, server.password, "the-wrong-password-of-redis")
        self.server = server
        server.ask("FLUSHALL")
        (folder / "password").write_text(server.password)
        (folder / "wrong-password").write_text(self.secrets[-1])

    def with_settings(self, **settings: object) -> RedisEngine:
        source = {"host": "127.0.0.1", "port": self.server.port, "password": "file:password"}
        usual = {**self.settings, **source, **settings}
        return RedisEngine(RedisEngine.Settings.model_validate(usual), self.context())

    def write(self, text: str) -> None:
        assert self.server.ask("RPUSH", "lines", text).isdecimal()

    def read(self, folder: Path) -> tuple[str, ...]:
        """Loaded by another server, as a person would."""
        with tempfile.TemporaryDirectory() as place:
            shutil.copy(folder / SNAPSHOT, Path(place, SNAPSHOT))
            with running_redis(Path(place)) as other:
                return tuple(other.ask("LRANGE", "lines", "0", "-1").splitlines())

    def with_wrong_credentials(self) -> BackupEngine:
        return self.with_settings(password="file:wrong-password")

    @contextlib.contextmanager
    def source_stopped(self) -> Iterator[None]:
        self.server.stop()
        try:
            yield
        finally:
            self.server.start()


@contextlib.contextmanager
def rigs(shared: Path) -> Iterator[Rigs]:
    """Yield what empties one server for each test."""
    need("redis-server")

    @contextlib.contextmanager
    def made(folder: Path) -> Iterator[Rig]:
        yield RedisRig(folder, server)

    with running_redis(shared) as server:
        yield made
