"""Files that are either whole or not there, and their digests."""

import contextlib
import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from tasks.common.errors import Refused, Retryable, Unsafe

PART_SUFFIX = ".part"
CHUNK_BYTES = 2**20

_MAY_PASS = {errno.EAGAIN, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
_NEXT = {
    errno.ENOSPC: "free space there, then run this again",
    errno.EDQUOT: "raise the quota or free space there, then run this again",
    errno.EROFS: "mount it for writing, then run this again",
    errno.EACCES: "give the user that runs Slipway's worker access to it",
    errno.EPERM: "give the user that runs Slipway's worker access to it",
}


@contextlib.contextmanager
def system_errors(what: str, on: Path) -> Iterator[None]:
    """An OSError within the `with` comes out as Retryable if it may pass by itself, else as Refused.

    Args:
        what: what could not be done, such as 'the archive cannot be stored'.
        on: the file or folder.

    Raises:
        Retryable: the system was short of something for a moment.
        Refused: no space, no permission, no such file.
    """
    try:
        yield
    except OSError as error:
        kind = Retryable if error.errno in _MAY_PASS else Refused
        raise kind(
            f"{what}: {error.strerror or error}",
            on=str(on),
            state="nothing half written was left there",
            next_action=_NEXT.get(error.errno or 0, "check that the path exists and is what the estate file means"),
        ) from error


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """What is written within the `with` is at `path` afterwards, on the disk too; after an error nothing has changed.

    A process that is killed meanwhile leaves a hidden file ending in PART_SUFFIX.
    """
    part = path.with_name(f".{uuid.uuid4().hex}{PART_SUFFIX}")
    try:
        with part.open("xb") as file:
            yield file
            sync(file)
        part.chmod(mode)
        part.replace(path)
        sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync(file: IO[bytes]) -> None:
    """What was written to the file is on the disk, and the next reader gets it from there."""
    file.flush()
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sync_folder(folder: Path) -> None:
    """Names that were added to or removed from the folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of a file in pieces of at most 1 MiB."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def read_made(path: Path, at_most_bytes: int, owner: int | None = None) -> bytes:
    """Return the first bytes of a file that a command has made: no link, no pipe, nothing that belongs to others.

    Args:
        path: the file.
        at_most_bytes: how much of it.
        owner: the user that it must belong to; None where any will do.

    Raises:
        OSError: there is no such file, or it is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor: what is judged is what is read
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or owner not in (None, found.st_uid):
            raise OSError(errno.EPERM, "no file that the command has made")
        return file.read(at_most_bytes)


def digest_of(chunks: Iterable[bytes]) -> str:
    """Return 'sha256:<hex>' of all the bytes."""
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
    return f"sha256:{found.hexdigest()}"


def digest_of_file(path: Path) -> str:
    """Return 'sha256:<hex>' of a file's bytes."""
    with path.open("rb") as file:
        return digest_of(chunks_of(file))


def receive(chunks: Iterable[bytes], digest: str, into: Path, where: str) -> None:
    """`into` holds exactly the bytes of the digest; after an error it does not exist.

    Args:
        chunks: the bytes, as they come.
        digest: 'sha256:<hex>' that they must have.
        into: file to write; what was there is replaced. Missing folders are made.
        where: where the bytes come from, for the error.

    Raises:
        Unsafe: the bytes are not those of the digest.

    *Idempotent:* yes.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    into.unlink(missing_ok=True)
    hashed = hashlib.sha256()
    with replacing(into) as file:
        for chunk in chunks:
            hashed.update(chunk)
            file.write(chunk)
        found = f"sha256:{hashed.hexdigest()}"
        if found != digest:
            raise Unsafe(
                "a stored artefact is not what was put there",
                on=where,
                state="nothing was written to the target; the stored copy is damaged or was tampered with",
                next_action="do not deploy it; find out what changed it, then build the commit again: "
                "storing the build replaces the damaged copy",
                facts={"expected": digest, "found": found},
            )
