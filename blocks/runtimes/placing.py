"""Unpacked releases on disk: complete or not there at all."""

import gzip
import os
import posixpath
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from blocks.fence import Fence
from blocks.files import CHUNK_BYTES, digest_of_file, system_errors
from tasks.common.errors import Refused

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_PREFIX_LENGTH = 16
_TEMPORARY = "."


def verify_digest(archive: Path, digest: str) -> None:
    """The file's content is the one that the digest ('sha256:<64 hex digits>') was made from.

    Raises:
        Refused: it is not, the file cannot be read, or the digest is none.
        Retryable: the system was short of something for a moment.
    """
    with system_errors("the release's archive cannot be read", archive):
        found = digest_of_file(archive)
    if found != digest or not _DIGEST.fullmatch(digest):
        raise Refused(
            "the archive is not the one that was built: its digest differs",
            on=str(archive),
            next_action="fetch it from the store again; if it differs again, treat the store as tampered with",
            facts={"expected": digest, "found": found},
        )


class PlacedReleases:
    """The folder that the releases of one service in one environment are unpacked in.

    A release's folder is called by the start of its digest and its name, so that it can be told from the name alone
    what is placed. Folders that start with a dot are half made or half removed.

    Args:
        folder: the folder; made when it is needed.
        fence: what every change of the folder goes through. Its files are not in the folder.
    """

    def __init__(self, folder: Path, fence: Fence) -> None:
        self._folder = folder
        self._fence = fence

    def find(self, release: str, digest: str) -> Path | None:
        """Return the folder that the release is unpacked in, if it is placed."""
        path = self._path(release, digest)
        return path if path.is_dir() else None

    def place(self, archive: Path, release: str, digest: str) -> None:
        """The release is unpacked, as a whole.

        *Idempotent:* yes: a placed release is left alone, and what an interrupted call left is never taken for one.

        Raises:
            LeaseLost: there is a newer lease; the release is not placed.
            Refused: the archive's digest is wrong, it cannot be unpacked safely, or there is no room or no right to.
            Retryable: the system was short of something for a moment.
        """
        verify_digest(archive, digest)
        if self.find(release, digest) is not None:
            return
        with system_errors("the release cannot be unpacked", self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self._folder))
            try:
                _unpack(archive, temporary)
                # mkdtemp lets nobody else in, but instances may run as another user.
                temporary.chmod(0o755)
                with self._fence.changing():
                    temporary.rename(self._path(release, digest))
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def remove_all_but(self, keep: Collection[str]) -> tuple[str, ...]:
        """Only releases in `keep` are placed; returns the names of those that have been removed, sorted.

        *Idempotent:* yes; a half-removed release is not a placed one, and the next call removes the rest.

        Raises:
            LeaseLost: there is a newer lease; no more is removed.
            Refused: no right to remove them.
            Retryable: the system was short of something for a moment.
        """
        removed = set()
        with system_errors("old releases cannot be removed", self._folder):
            # Sorted, remains of interrupted calls come first, and are out of the way of the renaming.
            for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
                release = unquote(path.name[_PREFIX_LENGTH + 1 :])
                if path.name.startswith(_TEMPORARY):
                    # What was listed before the claim is nothing that the holder of a newer lease is making.
                    self._fence.claim()
                    shutil.rmtree(path)
                elif release not in keep:
                    with self._fence.changing():
                        remains = path.rename(path.with_name(_TEMPORARY + path.name))
                    shutil.rmtree(remains)
                    removed.add(release)
        return tuple(sorted(removed))

    def _path(self, release: str, digest: str) -> Path:
        return self._folder / f"{digest.removeprefix('sha256:')[:_PREFIX_LENGTH]}-{quote(release, safe='')}"


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as content:
            members = content.getmembers()
            _refuse_unsafe(members, archive)
            # tarfile's own filters came with Python 3.11.4; Debian 12 has 3.11.2.
            content.extraction_filter = _as_it_is
            content.extractall(folder, members)  # noqa: S202 - its members were checked just now
            # Tar stops at its own end; the checksum that shows a damaged or shortened file comes after that.
            while stream.read(CHUNK_BYTES):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Refused(
            "the archive is not a tar.gz archive that can be read",
            on=str(archive),
            next_action="build the release again",
            facts={"reason": f"{type(error).__name__}: {error}"},
        ) from error


def _as_it_is(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    del path
    return member


def _refuse_unsafe(members: Sequence[tarfile.TarInfo], archive: Path) -> None:
    """Only folders, plain files and links that stay inside are unpacked, as our own and without special modes."""
    links = {posixpath.normpath(member.name) for member in members if member.issym()}
    for member in members:
        problem = _unsafe(member, links)
        if problem:
            raise Refused(
                "the archive holds an entry that must not be unpacked",
                on=str(archive),
                next_action="find out who built it: archives that Slipway builds hold nothing like that",
                facts={"entry": member.name, "reason": problem},
            )
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        member.mode &= 0o755


def _unsafe(member: tarfile.TarInfo, links: Collection[str]) -> str:
    """Return why the entry must not be unpacked; empty if it may."""
    name = posixpath.normpath(member.name)
    if not (member.isreg() or member.isdir() or member.issym()):
        return "neither a file nor a folder nor a symbolic link"
    if _leads_out(name):
        return "its path leads out of the release's folder"
    if any(str(parent) in links for parent in PurePosixPath(name).parents):
        return "its path goes through a link"
    if member.issym() and posixpath.normpath(member.linkname) != member.linkname:
        return "its link takes a detour, which could lead through another link"
    if member.issym() and (
        member.linkname.startswith("/") or _leads_out(posixpath.join(posixpath.dirname(name), member.linkname))
    ):
        return "it links out of the release's folder"
    return ""


def _leads_out(path: str) -> bool:
    normal = posixpath.normpath(path)
    return normal.startswith("/") or normal == ".." or normal.startswith("../")
