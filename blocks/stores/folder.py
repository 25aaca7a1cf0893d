"""Artefacts in a folder: on a disk of this machine, or on a share."""

import contextlib
import shutil
import time
from pathlib import Path

from pydantic import Field

from blocks.context import Context
from blocks.files import PART_SUFFIX, chunks_of, digest_of_file, receive, replacing, sync, sync_folder, system_errors
from blocks.stores.names import digest_named, missing, miswritten, name_of
from tasks.common.model import StrictModel

_ABANDONED_S = 24 * 3600.0


class FolderStore:
    """Keeps each archive as the file sha256/<hex> of a folder, whole or not at all.

    Args:
        settings: which folder.
        context: what relative paths start from.
    """

    class Settings(StrictModel):
        """Settings of the driver `folder`."""

        folder: str = Field(min_length=1, description="folder for artefacts; made if it does not exist")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._folder = context.resolve(settings.folder) / "sha256"

    def put(self, archive: Path) -> str:
        """The archive is stored and was read back; returns its digest.

        *Idempotent:* yes; a damaged copy is replaced, and several processes may put the same archive at once.

        Raises:
            Refused: no space, no permission, no such archive, or it reads back differently.
            Retryable: the system was short of something for a moment.
        """
        with system_errors("the archive cannot be read", archive):
            digest = digest_of_file(archive)
        with system_errors("the archive cannot be stored", self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            stored = self._folder / name_of(digest)
            # Asked in one go: another process may delete it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if digest_of_file(stored) == digest:
                    return digest
            with replacing(stored, mode=0o444) as file:
                with archive.open("rb") as source:
                    shutil.copyfileobj(source, file)
                sync(file)
                found = digest_of_file(Path(file.name))
                if found != digest:
                    raise miswritten(digest, found, str(self._folder))
        return digest

    def fetch(self, digest: str, into: Path) -> None:
        """`into` is the archive, its digest checked while reading; after an error it does not exist.

        *Idempotent:* yes.

        Raises:
            Refused: no such artefact; it cannot be read, or not be written to `into`.
            Unsafe: what is stored is not what was put.
        """
        stored = self._folder / name_of(digest)
        if not self.exists(digest):
            raise missing(digest, str(self._folder))
        with system_errors("the artefact cannot be read", stored):
            file = stored.open("rb")
        with file, system_errors("the artefact cannot be copied", into):
            receive(chunks_of(file), digest, into, str(stored))

    def exists(self, digest: str) -> bool:
        """Return whether an archive is stored under the digest (its bytes are not checked)."""
        with system_errors("the artefacts cannot be listed", self._folder):
            return (self._folder / name_of(digest)).is_file()

    def digests(self) -> tuple[str, ...]:
        """Return all stored digests, sorted."""
        if not self._folder.exists():
            return ()
        with system_errors("the artefacts cannot be listed", self._folder):
            found = (digest_named(path.name) for path in self._folder.iterdir())
            return tuple(sorted(digest for digest in found if digest is not None))

    def delete(self, digest: str) -> None:
        """The archive is not stored any more.

        *Idempotent:* yes.

        Raises:
            Refused: no permission.
        """
        stored = self._folder / name_of(digest)
        if not self._folder.exists():
            return
        with system_errors(f"the artefact {digest} cannot be deleted", self._folder):
            stored.unlink(missing_ok=True)
            sync_folder(self._folder)

    def _sweep(self) -> None:
        """Remove what processes that were killed while writing have left behind."""
        for part in self._folder.glob(f".*{PART_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                if part.stat().st_mtime < time.time() - _ABANDONED_S:
                    part.unlink()
