"""Artefacts in memory, for tests and dry runs."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from blocks.context import Context
from blocks.files import digest_of, receive, system_errors
from blocks.stores.names import missing, name_of
from tasks.common.model import StrictModel


class MemoryStore:
    """Keeps archives for as long as the process lives.

    Args:
        settings: which shelf.
        context: not used.
    """

    class Settings(StrictModel):
        """Settings of the driver `memory`."""

        shelf: str = Field(default="", description="stores with the same shelf hold the same artefacts")

    shelves: ClassVar[dict[str, dict[str, bytes]]] = {}
    """Shelf, digest, bytes."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del context
        self._shelf = settings.shelf

    @property
    def _archives(self) -> dict[str, bytes]:
        return self.shelves.setdefault(self._shelf, {})

    def put(self, archive: Path) -> str:
        """The archive is stored; returns its digest. *Idempotent:* yes; a damaged copy is replaced.

        Raises:
            Refused: no such archive.
        """
        with system_errors("the archive cannot be read", archive):
            content = archive.read_bytes()
        digest = digest_of([content])
        self._archives[digest] = content
        return digest

    def fetch(self, digest: str, into: Path) -> None:
        """`into` is the archive, its digest checked; after an error it does not exist. *Idempotent:* yes.

        Raises:
            Refused: no such artefact.
            Unsafe: what is stored is not what was put.
        """
        name_of(digest)
        if digest not in self._archives:
            raise missing(digest, "memory")
        with system_errors(f"the artefact {digest} cannot be written", into):
            receive([self._archives[digest]], digest, into, "memory")

    def exists(self, digest: str) -> bool:
        """Return whether an archive is stored under the digest (its bytes are not checked)."""
        name_of(digest)
        return digest in self._archives

    def digests(self) -> tuple[str, ...]:
        """Return all stored digests, sorted."""
        return tuple(sorted(self._archives))

    def delete(self, digest: str) -> None:
        """The archive is not stored any more. *Idempotent:* yes."""
        name_of(digest)
        self._archives.pop(digest, None)
