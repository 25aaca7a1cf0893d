"""What the conformance suite of `BackupEngine` needs to know of each driver: one module a driver.

A module has one context manager, `rigs(shared)`, for the length of the session: it starts the servers that all tests of
the driver share in the folder `shared`, and yields a function that makes a `Rig` in a folder, for the length of a test.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from tasks.backup.ports import BackupEngine


class Damage(StrEnum):
    """What can befall a file of a repository."""

    FLIPPED = "a flipped byte"
    TRUNCATED = "a truncated file"
    MISSING = "a missing file"


class Rig(ABC):
    """A source whose content is lines of text, empty repositories, and an engine for both.

    Args:
        secrets: values that the engine's settings refer to; they must show nowhere. At least one is planted.
        programs: names, as in /proc/PID/comm, of the programs that do the work of a take; killed in the middle of it.
        verify_tells_apart: whether damage in one backup leaves the verification of another full one clean.
    """

    secrets: tuple[str, ...]
    programs: frozenset[str] = frozenset()
    verify_tells_apart = True

    @abstractmethod
    def open(self) -> BackupEngine:
        """Return an engine as another process would open it."""

    @abstractmethod
    def write(self, text: str) -> None:
        """The source has this line, too."""

    @abstractmethod
    def read(self, folder: Path) -> tuple[str, ...]:
        """Return the lines that a restored folder holds, in the order in which they were written."""

    @abstractmethod
    def damage(self, label: str, how: Damage) -> None:
        """A file of the first repository that this backup needs is damaged; the one with the most of its content."""

    def moment(self) -> datetime:
        """Return a point in time after all lines so far and before the next one; only with point-in-time restore."""
        raise AssertionError("the engine has no restore to a point in time")

    def settle(self) -> None:
        """All lines so far can be restored, where there is WAL: it has arrived in the repositories."""
        return

    def with_wrong_key(self) -> BackupEngine | None:
        """Return an engine with another key for its repositories; None where nothing is encrypted."""
        return None

    def with_wrong_credentials(self) -> BackupEngine | None:
        """Return an engine that the source does not let in; None where there is no such thing."""
        return None

    def source_stopped(self) -> AbstractContextManager[None] | None:
        """Return a `with` during which the source does not answer; None where there is no server."""
        return None


Rigs = Callable[[Path], AbstractContextManager[Rig]]
Module = Callable[[Path], AbstractContextManager[Rigs]]


def spoil(file: Path, how: Damage) -> None:
    """The file is damaged; who may read it stays as it was."""
    match how:
        case Damage.MISSING:
            file.unlink()
        case Damage.TRUNCATED:
            with file.open("r+b") as opened:
                opened.truncate(file.stat().st_size // 2)
        case Damage.FLIPPED:
            with file.open("r+b") as opened:
                middle = file.stat().st_size // 2
                opened.seek(middle)
                byte = opened.read(1)
                opened.seek(middle)
                opened.write(bytes([byte[0] ^ 1]))


def largest(folder: Path, pattern: str) -> Path:
    """Return the largest file below a folder whose name matches the pattern."""
    return max((path for path in folder.rglob(pattern) if path.is_file()), key=lambda path: path.stat().st_size)
