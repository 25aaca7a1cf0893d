"""What Slipway keeps beside each backup of barman-cloud, which has no manifest. Written last, it makes it a backup."""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from blocks.backups.buckets import Bucket, Stored
from blocks.backups.wal import Range
from tasks.common.backups import BackupKind, StoredBackup

LABEL = r"\d{8}T\d{6}"
_LABEL_TIME = "%Y%m%dT%H%M%S"
_GZIP = 31
_CHUNK_BYTES = 2**20
_SHOWN = 5


@dataclass(frozen=True)
class Record:
    """A backup that was complete in the bucket.

    Args:
        stored: its figures.
        wal: what makes it consistent.
        tablespaces: their names.
        objects: all that it consists of, its WAL too, as the bucket had it.
    """

    stored: StoredBackup
    wal: Range
    tablespaces: tuple[str, ...]
    objects: Mapping[str, Stored]


def write(record: Record) -> bytes:
    """Return the record as it is kept."""
    about = asdict(record)
    return json.dumps(about, indent=1, default=lambda moment: moment.isoformat()).encode()


def read(text: bytes) -> Record | None:
    """Return a record that was kept; None if it is damaged."""
    try:
        about = json.loads(text)
        stored = about["stored"]
        moments = {name: datetime.fromisoformat(stored.pop(name)) for name in ("started_at", "ended_at")}
        return Record(
            StoredBackup(**{**stored, **moments, "kind": BackupKind(stored["kind"]), "needs": tuple(stored["needs"])}),
            Range(**about["wal"]),
            tuple(about["tablespaces"]),
            {
                key: Stored(each["size_bytes"], each["etag"], datetime.fromisoformat(each["at"]))
                for key, each in about["objects"].items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def unreadable(label: str) -> StoredBackup:
    """Return what is known of a backup whose record is damaged."""
    began = datetime.strptime(label, _LABEL_TIME).replace(tzinfo=UTC)
    return StoredBackup(label, BackupKind.FULL, began, began, 0, 0, error="Slipway's record of it is damaged")


def taken(info: Mapping[str, Any]) -> tuple[datetime, datetime, Range, tuple[str, ...], str]:
    """Return what Barman's own record says: beginning, end, WAL, names of tablespaces, and the server's version."""
    version = int(info["version"])
    return (
        datetime.fromisoformat(info["begin_time_iso"]),
        datetime.fromisoformat(info["end_time_iso"]),
        Range("", info["begin_wal"], info["end_wal"]),
        tuple(name for name, _, _ in info["tablespaces"] or ()),
        f"{version // 10_000}.{version % 10_000}",
    )


def changed(record: Record, there: Mapping[str, Stored]) -> list[str]:
    """Return which objects of a backup are missing, or not those that were written, one sentence each."""
    found = []
    for key, was in record.objects.items():
        now = there.get(key)
        if now is None:
            found.append(f"{key} is missing")
        elif (now.size_bytes, now.etag) != (was.size_bytes, was.etag):
            found.append(f"{key} was replaced: {was.size_bytes} bytes were written, {now.size_bytes} are there")
    return found[:_SHOWN]


def misread(record: Record, bucket: Bucket) -> list[str]:
    """Return which objects of a backup do not read as they were packed, one sentence each. All are read to their end.

    gzip has kept a checksum of the content before it was sent.
    """
    wrong = {key: _wrong(key, was, bucket.chunks(key)) for key, was in record.objects.items()}
    return [f"{key} {why}" for key, why in wrong.items() if why][:_SHOWN]


def _wrong(key: str, was: Stored, chunks: Iterable[bytes]) -> str:
    unpacking, size = zlib.decompressobj(_GZIP), 0
    try:
        for chunk in chunks:
            size += len(chunk)
            while key.endswith(".gz") and chunk and not unpacking.eof:
                # In pieces: a few bytes may be the packing of very many.
                unpacking.decompress(chunk, _CHUNK_BYTES)
                chunk = unpacking.unconsumed_tail  # noqa: PLW2901
        unpacking.flush()
    except zlib.error:
        return "is damaged: it cannot be unpacked"
    if size != was.size_bytes:
        return f"is damaged: {was.size_bytes} bytes were written, {size} came"
    return "is damaged: its end is missing" if key.endswith(".gz") and not unpacking.eof else ""
