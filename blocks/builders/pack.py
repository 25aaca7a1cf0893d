"""The reproducible archive of a tree: the same files give the same bytes, whatever the clock, the folder and the user.

*Source:* https://reproducible-builds.org/docs/archives/ (sorted names, one time, no owners, normalised modes).
"""

import gzip
import os
import stat
import tarfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

from blocks.builders.globs import any_matcher, matcher
from blocks.files import digest_of_file, replacing, system_errors
from tasks.common.errors import Refused
from tasks.common.service import Build
from tasks.release.model import Artifact

# Neither differs between two builds of one commit for a reason that an artefact should have.
_NEVER = any_matcher(["**/.git", "**/__pycache__", "**/*.pyc"])
_LEVEL = 6


def pack(tree: Path, spec: Build, modified_at: datetime, out: Path) -> Artifact:
    """`out` is a tar.gz of the files that the patterns choose; links stay links, empty folders are left out.

    Args:
        tree: folder whose files are packed, under their paths from here.
        spec: its include and exclude patterns.
        modified_at: aware; the time that every file in the archive carries.
        out: file to write, outside the tree; what was there is replaced once the archive is whole.

    Raises:
        Refused: a pattern includes nothing, a link leads out of the tree, or something is neither file nor link.

    *Idempotent:* yes.
    """
    with system_errors("the tree cannot be read", tree):
        names = _chosen(tree, spec)
        _check_links(tree, names)
    with system_errors("the archive cannot be written", out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as file:
            _write(tree, names, int(modified_at.timestamp()), file)
        return Artifact(digest=digest_of_file(out), size_bytes=out.stat().st_size, files=len(names))


def _chosen(tree: Path, spec: Build) -> list[str]:
    """Return the paths of the files and links to pack, sorted."""
    excluded = any_matcher(spec.exclude)
    found = [name for name in _walk(tree) if not _NEVER(name)]
    for pattern in spec.include:
        if not any(map(matcher(pattern), found)):
            raise Refused(
                f"the pattern {pattern!r} includes no file",
                on=str(tree),
                state="no archive was made",
                next_action="correct build.include in the service file, or the build command that should make the file",
            )
    included = any_matcher(spec.include)
    names = sorted(name for name in found if included(name) and not excluded(name))
    if not names:
        raise Refused(
            "every included file is excluded again",
            on=str(tree),
            state="no archive was made",
            next_action="correct build.exclude in the service file",
        )
    return names


def _walk(tree: Path) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise error

    for folder, subfolders, files in os.walk(tree, onerror=fail):
        links = [name for name in subfolders if Path(folder, name).is_symlink()]
        for name in files + links:
            yield Path(folder, name).relative_to(tree).as_posix()


def _check_links(tree: Path, names: list[str]) -> None:
    outside = [name for name in names if (tree / name).is_symlink() and _leads_out(tree, name)]
    if outside:
        raise Refused(
            "links lead out of the tree, or are absolute",
            on=", ".join(f"{name} -> {(tree / name).readlink()}" for name in outside),
            state="no archive was made",
            next_action="exclude them under build.exclude of the service file, or make them relative "
            "(a virtual environment: build it with --copies)",
        )


def _leads_out(tree: Path, name: str) -> bool:
    target = (tree / name).readlink()
    # By its text, since that is all that counts where the archive is unpacked; and by what is on the disk, since a
    # link may lead through another one.
    by_text = Path(os.path.normpath(Path(name).parent / target))
    on_disk = Path(os.path.realpath(tree / name))
    return target.is_absolute() or by_text.parts[:1] == ("..",) or not on_disk.is_relative_to(tree.resolve())


def _write(tree: Path, names: list[str], modified: int, file: IO[bytes]) -> None:
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in names:
            _add(archive, tree / name, name, modified)


def _add(archive: tarfile.TarFile, path: Path, name: str, modified: int) -> None:
    found = path.lstat()
    entry = tarfile.TarInfo(name)
    entry.mtime = modified
    entry.mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
    if stat.S_ISLNK(found.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.fspath(path.readlink())
        archive.addfile(entry)
    elif stat.S_ISREG(found.st_mode):
        entry.size = found.st_size
        with path.open("rb") as content:
            archive.addfile(entry, content)
    else:
        raise Refused(
            "neither a file nor a link",
            on=str(path),
            state="no archive was made",
            next_action="exclude it under build.exclude of the service file",
        )
