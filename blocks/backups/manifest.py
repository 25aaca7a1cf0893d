"""What a sealed backup says of itself. It is written last: a folder without one is no backup."""

import json
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from blocks.files import digest_of
from tasks.common.backups import BackupKind, StoredBackup
from tasks.common.model import StrictModel

MANIFEST = "manifest.json"
SEALED_SUFFIX = ".age"


class Damaged(Exception):
    """A manifest is not what was written; says why, as the end of a sentence."""


class SealedFile(StrictModel):
    """One file: its name before it was encrypted, and what is stored of it. No name leads out of a folder."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    plain_bytes: int = Field(ge=0)
    sealed_bytes: int = Field(ge=0)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")

    @property
    def stored_name(self) -> str:
        """Return the name that it is stored under."""
        return self.name + SEALED_SUFFIX


class Manifest(StrictModel):
    """All that a backup is made of.

    Args:
        format: of this file.
        label: the backup's.
        engine: the driver's name.
        source: what it is of: 'campus on db.internal:5432'.
        source_version: of the server.
        started_at: when it was begun; its content is as of this moment, or shortly after.
        ended_at: when it was complete.
        recipients: public keys that it was encrypted for.
        files: all of it.
    """

    format: Literal[1] = 1
    label: str
    engine: str
    source: str
    source_version: str
    started_at: AwareDatetime
    ended_at: AwareDatetime
    recipients: tuple[str, ...]
    files: tuple[SealedFile, ...]

    @property
    def plain_bytes(self) -> int:
        """Return what comes out when it is restored."""
        return sum(file.plain_bytes for file in self.files)

    @property
    def sealed_bytes(self) -> int:
        """Return what its files take."""
        return sum(file.sealed_bytes for file in self.files)

    def stored(self) -> StoredBackup:
        """Return the backup as the port has it."""
        return StoredBackup(
            label=self.label,
            kind=BackupKind.FULL,
            started_at=self.started_at,
            ended_at=self.ended_at,
            size_bytes=self.plain_bytes,
            stored_bytes=self.sealed_bytes,
            source_version=self.source_version,
        )

    def write(self) -> bytes:
        """Return the file, with a digest of itself."""
        content = self.model_dump(mode="json")
        return json.dumps({"manifest": content, "digest": _digest(content)}, indent=1).encode() + b"\n"


def read(data: bytes, label: str) -> Manifest:
    """Return the manifest of a backup.

    Raises:
        Damaged: it is not as it was written, or is another backup's.
    """
    try:
        document = json.loads(data)
        content = document["manifest"]
        if document["digest"] != _digest(content):
            raise Damaged("its manifest is not as it was written: the digest differs")
        found = Manifest.model_validate(content)
    except (ValueError, KeyError, TypeError, ValidationError):
        raise Damaged("its manifest cannot be read") from None
    if found.label != label:
        raise Damaged(f"its manifest is that of {found.label}")
    return found


def unreadable(label: str, at: datetime, why: str) -> StoredBackup:
    """Return a backup of which no more is known than that it was complete once."""
    return StoredBackup(label, BackupKind.FULL, at, at, 0, 0, error=why)


def _digest(content: object) -> str:
    return digest_of([json.dumps(content, sort_keys=True).encode()])
