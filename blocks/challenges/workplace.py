"""A room with a copy of a repository, and variants of it that may be damaged. The repository itself is only read."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from blocks.backups.disk import disk_errors, remove
from blocks.files import chunks_of, digest_of_file
from blocks.postgresql import USERS
from blocks.scratch.rooms import Room
from blocks.users import find_user, own

# Of a segment that is just being archived.
_UNFINISHED = ".tmp"


class Workplace:
    """A room of its own, held by this process; the next verification or challenge removes that of a dead one.

    Args:
        place: folder of all rooms.

    Raises:
        Refused: there can be no room.
    """

    def __init__(self, place: Path) -> None:
        self._room = Room(place)
        self._digests: dict[Path, str] = {}
        self._number = 0

    @property
    def _copied(self) -> Path:
        return self._room.folder / "copied"

    def copy(self, repository: Path, parts: Sequence[str]) -> None:
        """These parts of the repository are copied, and it is known what they were. *Idempotent:* no.

        Raises:
            Refused, Retryable: it cannot be read, or there is no space.
        """
        with disk_errors("the repository cannot be copied", repository, "it is as it was"):
            _make(repository, self._copied)
            for part in parts:
                for above in reversed(Path(part).parents[:-1]):
                    _make(repository / above, self._copied / above)
                self._digests |= copy_tree(repository / part, self._copied / part)

    def touched(self) -> tuple[str, ...]:
        """Return the files that were copied and are not as they were then, or are gone, in the repository itself."""
        return tuple(
            str(path) for path, digest in self._digests.items() if not path.is_file() or digest_of_file(path) != digest
        )

    def variant(self) -> Path:
        """Return a new copy of the copy, in no time: files share what they hold until they are damaged."""
        made = self.folder("repository")
        with disk_errors("a variant of the copy cannot be made", made):
            made.rmdir()
            shutil.copytree(self._copied, made, symlinks=True, copy_function=os.link)
            for path in (self._copied, *self._copied.rglob("*")):
                if path.is_dir() and not path.is_symlink():
                    _same_owner(path, made / path.relative_to(self._copied))
        return made

    def folder(self, what: str) -> Path:
        """Return a new empty folder, for the server's user alone."""
        self._number += 1
        made = self._room.folder / f"{what}-{self._number}"
        own(made, find_user(USERS))
        return made

    def drop(self, *folders: Path) -> None:
        """These folders are gone. *Idempotent:* yes."""
        for each in folders:
            with disk_errors("a variant of the copy cannot be removed", each):
                remove(each)

    def leave(self) -> None:
        """Nothing is left. *Idempotent:* yes.

        Raises:
            Refused: a file could not be removed.
        """
        self._room.leave()


def copy_tree(source: Path, to: Path) -> dict[Path, str]:
    """What is there is copied, with owners, rights and times; returns the digest of each file. *Idempotent:* no.

    What comes while it is copied is left out. A file that is removed meanwhile is left out, too.
    """
    digests = {}
    for path in (source, *sorted(source.rglob("*"))) if source.is_dir() else (source,):
        target = to / path.relative_to(source)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        elif path.is_dir():
            _make(path, target)
        elif not path.name.endswith(_UNFINISHED):
            with suppress(FileNotFoundError):
                digests[path] = _copy_file(path, target)
    return digests


def flip(repository: Path, file: str, offset: int) -> None:
    """One bit of the byte is another one; who else has the file keeps it. *Idempotent:* no."""
    path = _own_file(repository / file)
    with path.open("r+b") as opened:
        opened.seek(offset)
        byte = opened.read(1)
        opened.seek(offset)
        opened.write(bytes([byte[0] ^ 1]))


def truncate(repository: Path, file: str, size: int) -> None:
    """The file ends there; who else has it keeps it whole. *Idempotent:* yes."""
    with _own_file(repository / file).open("r+b") as opened:
        opened.truncate(size)


def drop_file(repository: Path, file: str) -> None:
    """The file is gone; who else has it keeps it. *Idempotent:* no."""
    (repository / file).unlink()


def swap(repository: Path, older: str, newest: str) -> None:
    """The folder of the newest backup holds what that of the older one does. *Idempotent:* yes."""
    shutil.rmtree(repository / newest)
    shutil.copytree(repository / older, repository / newest, symlinks=True, copy_function=os.link)
    for path in (repository / older, *(repository / older).rglob("*")):
        if path.is_dir() and not path.is_symlink():
            _same_owner(path, repository / newest / path.relative_to(repository / older))


def _own_file(path: Path) -> Path:
    """Return the path, whose file nobody shares any more."""
    beside = path.with_name(f"{path.name}.own")
    _copy_file(path, beside)
    beside.replace(path)
    return path


def _make(like: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    _same_owner(like, folder)


def _copy_file(path: Path, to: Path) -> str:
    hashed = hashlib.sha256()
    with path.open("rb") as source, to.open("wb") as target:
        for chunk in chunks_of(source):
            hashed.update(chunk)
            target.write(chunk)
    _same_owner(path, to)
    return f"sha256:{hashed.hexdigest()}"


def _same_owner(path: Path, to: Path) -> None:
    """Owner, rights and times are the same: an engine may tell by them when WAL has arrived."""
    found = path.stat()
    if os.getuid() == 0:
        os.chown(to, found.st_uid, found.st_gid)
    shutil.copystat(path, to)
