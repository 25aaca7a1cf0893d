"""What the errors of the disks mean that backups are written to, and removing what is left on them."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tasks.common.errors import Refused, Retryable

_NOT_ALLOWED = {
    errno.EROFS: "mount it for writing",
    errno.EACCES: "give the user that runs Slipway's worker access to it",
    errno.EPERM: "give the user that runs Slipway's worker access to it",
    errno.ENOTDIR: "make it a folder, or name another one in the estate file",
}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def disk_errors(what: str, on: Path, state: str = "nothing of it counts as a backup") -> Iterator[None]:
    """An OSError within the `with` comes out as Refused where access is missing, else as Retryable.

    Raises:
        Refused: no permission, or it is read-only.
        Retryable: the disk is full, gone, or does not answer.
    """
    try:
        yield
    except OSError as error:
        said = f"{what}: {error.strerror or error}"
        if error.errno in _NOT_ALLOWED:
            raise Refused(said, on=str(on), state=state, next_action=_NOT_ALLOWED[error.errno]) from error
        full = error.errno in _FULL
        next_action = "free space there, then run this again" if full else "check that its disk is mounted and answers"
        raise Retryable(said, on=str(on), state=state, next_action=next_action) from error


def remove(folder: Path) -> None:
    """The folder and all in it are gone; what somebody still writes into it meanwhile, too. *Idempotent:* yes.

    Raises:
        OSError: it cannot be removed.
    """
    for _ in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
    shutil.rmtree(folder)
