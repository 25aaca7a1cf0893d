"""The engine in memory."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from blocks.context import Context
from blocks.memory.backups import CONTENT, MemoryBackups, MemoryEngine
from tasks.backup.ports import BackupEngine
from tasks.common.backups import FIRST, Ability
from tests.support.backup_engines import Damage, Rig, Rigs
from tests.support.processes import wait_until

PASSWORD = "the-password-of-the-source-in-memory"
KEY = "the-key-of-the-repository-in-memory"


class MemoryRig(Rig):
    """Each folder is a world of its own."""

    secrets = (PASSWORD, KEY)

    def __init__(self, folder: Path, can: Sequence[Ability]) -> None:
        self.folder = folder
        self.can = can
        self.world = MemoryEngine.worlds[str(folder)] = MemoryBackups(password=PASSWORD)
        for name, value in {"password": PASSWORD, "key": KEY, "wrong": "the-wrong-one-of-them"}.items():
            (folder / name).write_text(value)

    def open(self) -> BackupEngine:
        return self.with_settings()

    def with_settings(self, **settings: object) -> MemoryEngine:
        usual = {"world": str(self.folder), "can": self.can, "password": "file:password", "key": "file:key"}
        return MemoryEngine(MemoryEngine.Settings.model_validate({**usual, **settings}), Context(base=self.folder))

    def write(self, text: str) -> None:
        self.world.write(text)

    def read(self, folder: Path) -> tuple[str, ...]:
        return tuple((folder / CONTENT).read_text().splitlines())

    def damage(self, label: str, how: Damage) -> None:
        backup = self.world.repositories[FIRST].backups[label]
        assert backup.content
        match how:
            case Damage.MISSING:
                backup.content = None
            case Damage.TRUNCATED:
                backup.content = backup.content[:-1]
            case Damage.FLIPPED:
                backup.content = bytes([backup.content[0] ^ 1]) + backup.content[1:]

    def moment(self) -> datetime:
        now = datetime.now(UTC)
        wait_until(lambda: datetime.now(UTC) > now, what="the next tick of the clock")
        return now

    def with_wrong_key(self) -> BackupEngine | None:
        if Ability.ENCRYPTION not in self.can:
            return None
        return self.with_settings(key="file:wrong")

    def with_wrong_credentials(self) -> BackupEngine:
        return self.with_settings(password="file:wrong")


@contextlib.contextmanager
def rigs(shared: Path) -> Iterator[Rigs]:
    """Yield what makes an empty world for a folder, and an engine that can do everything."""
    del shared
    yield lambda folder: contextlib.nullcontext(MemoryRig(folder, list(Ability)))


@contextlib.contextmanager
def bare_rigs(shared: Path) -> Iterator[Rigs]:
    """The same for an engine that can do nothing that not every engine can."""
    del shared
    yield lambda folder: contextlib.nullcontext(MemoryRig(folder, []))
