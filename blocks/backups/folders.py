"""Folders that are either restored as a whole or not there."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from pwd import struct_passwd

from blocks.files import replacing, system_errors
from tasks.common.errors import Refused

_SUFFIX = ".restoring"


@contextlib.contextmanager
def restoring(into: Path, owner: struct_passwd | None = None) -> Iterator[Path]:
    """Yield an empty folder beside `into`, which takes its place when the `with` ends well; after an error it is gone.

    A process that is killed meanwhile leaves the folder beside it, which the next call replaces.

    Args:
        into: where it is to be; an empty folder there is replaced, missing ones above are made.
        owner: whom it belongs to, and to nobody else; None for the user that we are.

    Raises:
        Refused: there is something in `into`, it cannot be made, or the disk is full.
        Retryable: the system was short of something for a moment.
    """
    into = into.absolute()
    refuse_filled(into)
    beside = into.with_name(into.name + _SUFFIX)
    with system_errors("the folder to restore into cannot be made", into):
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(mode=0o700)
        if owner is not None:
            os.chown(beside, owner.pw_uid, owner.pw_gid)
    try:
        yield beside
        with system_errors("what was restored cannot be put into its place", into):
            beside.rename(into)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def write_private(file: Path, content: bytes, owner: struct_passwd | None) -> None:
    """The file has this content, and belongs to its owner alone. *Idempotent:* yes, and nothing is written twice.

    Raises:
        OSError: it cannot be written.
    """
    if file.exists() and file.read_bytes() == content:
        return
    with replacing(file, mode=0o600) as opened:
        os.fchmod(opened.fileno(), 0o600)
        if owner is not None:
            os.fchown(opened.fileno(), owner.pw_uid, owner.pw_gid)
        opened.write(content)


def refuse_filled(into: Path) -> None:
    """The folder is empty, or not there.

    Raises:
        Refused: there is something in it, it is no folder, or a disk is mounted right there.
    """
    with system_errors("the folder to restore into cannot be looked at", into):
        if into.is_mount():
            # What is complete takes its place by a rename, which no disk's root can have.
            raise Refused(
                "a disk is mounted on the folder to restore into",
                on=str(into),
                next_action="name a folder on that disk",
            )
        if into.exists() and (not into.is_dir() or any(into.iterdir())):
            raise Refused(
                "the folder to restore into is not empty",
                on=str(into),
                next_action="name another folder, or move away what is in it",
            )
