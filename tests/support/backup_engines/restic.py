"""restic, of a folder of files."""

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from blocks.backups.restic import ResticEngine
from blocks.context import Context
from tasks.backup.ports import BackupEngine
from tests.support.backup_engines import Damage, Rig, Rigs, largest, spoil
from tests.support.restic import make_cheap_repository

PASSWORD = "the-password-of-the-repository"
BULK_BYTES = 32 * 2**20
SOLID_BYTES = 2**20


class ResticRig(Rig):
    """A folder with one file of lines, and a large one that is always being touched: a backup of it takes its time."""

    programs = frozenset({"restic"})
    verify_tells_apart = False

    def __init__(self, folder: Path, empty: Path) -> None:
        self.folder = folder
        shutil.copytree(empty, folder / "repository-1")
        shutil.copytree(empty, folder / "repository-2")
        self.source = folder / "source"
        self.source.mkdir()
        (self.source / "solid").write_bytes(os.urandom(SOLID_BYTES))
        self.bulk = self.source / "bulk"
        with self.bulk.open("wb") as file:
            file.truncate(BULK_BYTES)
        self.secrets = (PASSWORD, "the-wrong-password-of-it")
        (folder / "password").write_text(self.secrets[0])
        (folder / "wrong-password").write_text(self.secrets[1])

    def with_settings(self, **settings: object) -> ResticEngine:
        usual = {"repositories": ["repository-1", "repository-2"], "paths": ["source"], "password": "file:password"}
        return ResticEngine(ResticEngine.Settings.model_validate({**usual, **settings}), Context(base=self.folder))

    def open(self) -> BackupEngine:
        return self.with_settings()

    def write(self, text: str) -> None:
        with (self.source / "lines").open("a") as file:
            file.write(f"{text}\n")

    def read(self, folder: Path) -> tuple[str, ...]:
        restored = folder / self.source.relative_to("/")
        assert (restored / "bulk").stat().st_size == BULK_BYTES
        return tuple((restored / "lines").read_text().splitlines())

    def damage(self, label: str, how: Damage) -> None:
        """What restic stores is shared: the largest pack holds a part of every backup."""
        del label
        pack = largest(self.folder / "repository-1" / "data", "*")
        pack.chmod(0o600)
        spoil(pack, how)

    def with_wrong_key(self) -> BackupEngine:
        return self.with_settings(password="file:wrong-password")


@contextlib.contextmanager
def touched(file: Path) -> Iterator[None]:
    """The file changes its time again and again, so that restic reads it whole each time."""
    done = threading.Event()

    def touch() -> None:
        while not done.wait(0.02):
            os.utime(file)

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def rigs(shared: Path) -> Iterator[Rigs]:
    """Yield what makes a source for a folder."""
    make_cheap_repository(shared / "empty", PASSWORD)

    @contextlib.contextmanager
    def made(folder: Path) -> Iterator[Rig]:
        rig = ResticRig(folder, shared / "empty")
        with touched(rig.bulk):
            yield rig

    yield made
