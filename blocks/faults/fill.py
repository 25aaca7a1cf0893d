"""The fault `fill`: a file system has no room left."""

import contextlib
import errno
import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from blocks.context import Context
from blocks.shell import detach
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.units import Size, show_size
from tasks.drill.model import Undone
from tasks.drill.ports import Aim

_BLOCK_BYTES = 4096
_AGAIN_AFTER_S = 0.05
_NO_ROOM_BYTES = 2**20
"""A server that runs gives small files back all the time."""


class Fill:
    """Implements `Fault`: a file of ours takes what is left of a file system, and what is freed later.

    Args:
        settings: which one.
        context: where relative paths start.
    """

    class Settings(StrictModel):
        """Settings of the driver `fill`."""

        folder: str = Field(min_length=1, description="any folder of the file system")
        at_most_bytes: Size = Field(
            default=2 * 2**30, alias="at_most", description="a file system with more room than that is not touched"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._folder, self._at_most = context.resolve(settings.folder), settings.at_most_bytes

    @property
    def reversible(self) -> bool:
        """Return that it is."""
        return True

    def aim(self) -> Aim:
        """Return which file it will be.

        Raises:
            Refused: there is no such folder, it shares its disk with the system, or it has more room than is filled.
        """
        if not self._folder.is_dir():
            raise self._refused("there is no such folder")
        if self._folder.stat().st_dev == Path("/").stat().st_dev:
            raise self._refused("it is on the same file system as the system itself")
        free = self._free()
        if free > self._at_most:
            raise self._refused(
                f"it has {show_size(free)} of room, more than the {show_size(self._at_most)} of at_most"
            )
        return {"file": str(self._folder / f".slipway-drill-{uuid.uuid4().hex[:12]}")}

    def inject(self, aim: Aim) -> None:
        """Nothing fits any more, and nothing will: what others free is taken, too. *Idempotent:* yes."""
        file = Path(aim["file"])
        known = file.exists()
        with _opened(file) as descriptor:
            _take(descriptor, self._free())
        if not known:
            # Without it a server that throws old WAL away would have made room for itself within a minute.
            argv = [sys.executable, "-m", "blocks.faults.fill", str(file)]
            detach(argv, cwd=Path(__file__).parents[2], log=Path("/dev/null"))

    def injected(self, aim: Aim) -> bool:
        """Return whether the file is there, and there is no room."""
        return Path(aim["file"]).exists() and self._free() < _NO_ROOM_BYTES

    def undo(self, aim: Aim) -> Undone:
        """The file is gone, and with it who took what others freed. *Idempotent:* yes."""
        file = Path(aim["file"])
        size = file.stat().st_size if file.exists() else 0
        file.unlink(missing_ok=True)
        return Undone(f"there are {show_size(size)} of room again" if size else "nothing was filled")

    def _free(self) -> int:
        found = os.statvfs(self._folder)
        # Not f_bfree: ext4 keeps some megabytes back that nobody is given.
        return found.f_bavail * found.f_frsize

    def _refused(self, what: str) -> Refused:
        return Refused(what, on=str(self._folder), next_action="practise on a small file system of its own")


@contextlib.contextmanager
def _opened(file: Path, flags: int = os.O_CREAT) -> Iterator[int]:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, free_bytes: int) -> None:
    """The file has all of the room. It is taken without writing, which is quick; half of what does not fit is next."""
    piece = max(free_bytes, _BLOCK_BYTES)
    while piece >= _BLOCK_BYTES:
        try:
            os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, piece)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            piece //= 2


def main() -> None:
    """The file has taken what others have freed, for as long as it was there."""
    file = Path(sys.argv[1])
    with contextlib.suppress(FileNotFoundError):
        while file.exists():
            # Not held open: what is removed must give its room back at once.
            with _opened(file, 0) as descriptor:
                found = os.fstatvfs(descriptor)
                _take(descriptor, found.f_bavail * found.f_frsize)
            time.sleep(_AGAIN_AFTER_S)


if __name__ == "__main__":
    main()
